package dev.kv8;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.zip.CRC32C;
import org.jspecify.annotations.Nullable;

/**
 * A store that does everything wrong that a store can do wrong, now and then, by a seed. What it keeps it keeps whole. Made by the thread
 * that drives the cache, on which it refuses to work.
 */
final class FaultyStore implements BlockStore {
    enum Fault {
        DELAYED,
        /** Completed long after its deadline, with a write into the buffer shortly before. */
        LATE,
        LOST,
        TRUNCATED,
        FLIPPED,
        TWICE,
        /** Completed in time, and written to afterwards all the same. */
        WRITTEN_AFTER,
        WRONG_KEY,
        WRONG_LAYOUT,
        FAILED,
        THROWN,
        WRONG_COUNT,
        NOT_ASKED
    }

    /** In how many operations a fault is made that has not been made yet. */
    private static final int DUE = 20;

    private final StepsThread stepsThread = new StepsThread();
    private final Random random;
    private final double rate;
    private int asked;
    private final TreeMap<String, byte[]> kept = new TreeMap<>();
    private final List<Runnable> lost = new ArrayList<>();
    private final Map<Fault, Integer> made = new EnumMap<>(Fault.class);
    private final ScheduledExecutorService later = Executors.newSingleThreadScheduledExecutor(task -> {
        Thread thread = new Thread(task, "faulty-store");
        thread.setDaemon(true);
        return thread;
    });

    /** @param rate how many of the operations go wrong */
    FaultyStore(long seed, double rate) {
        random = new Random(seed);
        this.rate = rate;
    }

    /** By kind, how often. */
    synchronized Map<Fault, Integer> made() {
        return new EnumMap<>(made);
    }

    /** By chance; but soon where a kind of fault has not been made yet, so that no run goes without one. */
    private synchronized boolean happens(Fault... candidates) {
        boolean due = ++asked % DUE == 0 && !made.keySet().containsAll(List.of(candidates));
        return random.nextDouble() < rate * candidates.length || due;
    }

    private synchronized Fault any(Fault... candidates) {
        List<Fault> missing = new ArrayList<>(List.of(candidates));
        missing.removeAll(made.keySet());
        List<Fault> choice = missing.isEmpty() ? List.of(candidates) : missing;
        Fault fault = choice.get(random.nextInt(choice.size()));
        made.merge(fault, 1, Integer::sum);
        return fault;
    }

    private synchronized int below(int bound) {
        return random.nextInt(bound);
    }

    @Override
    public String name() {
        return "faulty";
    }

    @Override
    public void prepare(int frameBytes) {}

    /** So that most loads take several transfers. */
    @Override
    public int transferBytes() {
        return 2 * TieredCache.frameBytes();
    }

    @Override
    public int lookup(List<BlockKey> keys, long deadlineNanos) throws IOException {
        stepsThread.mustNotRun();
        if (happens(Fault.WRONG_COUNT, Fault.NOT_ASKED)) {
            if (any(Fault.WRONG_COUNT, Fault.NOT_ASKED) == Fault.NOT_ASKED) {
                throw new IOException("made up");
            }
            return below(2) == 0 ? keys.size() : below(2) == 0 ? -1 : keys.size() + 1;
        }
        synchronized (this) {
            int found = 0;
            while (found < keys.size() && kept.containsKey(keys.get(found).hex())) {
                found++;
            }
            return found;
        }
    }

    private synchronized byte @Nullable [] frame(BlockKey key) {
        return kept.get(key.hex());
    }

    @Override
    public void load(BlockTransfer transfer) {
        stepsThread.mustNotRun();
        if (happens(Fault.THROWN)) {
            any(Fault.THROWN);
            throw new IllegalStateException("made up");
        }
        for (int i = 0; i < transfer.size(); i++) {
            byte @Nullable [] frame = frame(transfer.key(i));
            if (frame == null) {
                transfer.absent(i);
            } else if (happens(Fault.values())) {
                loadWrongly(transfer, i, frame.clone());
            } else {
                transfer.frame(i).put(frame);
                transfer.done(i, frame.length);
            }
        }
    }

    private void loadWrongly(BlockTransfer transfer, int i, byte[] frame) {
        ByteBuffer target = transfer.frame(i);
        switch (any(
                Fault.DELAYED,
                Fault.LATE,
                Fault.LOST,
                Fault.TRUNCATED,
                Fault.FLIPPED,
                Fault.TWICE,
                Fault.WRITTEN_AFTER,
                Fault.WRONG_KEY,
                Fault.WRONG_LAYOUT,
                Fault.FAILED)) {
            case DELAYED ->
                after(1, () -> {
                    target.put(frame);
                    transfer.done(i, frame.length);
                });
            case LATE ->
                after(20, () -> {
                    target.put(frame);
                    transfer.done(i, frame.length);
                });
            case LOST -> {
                synchronized (this) {
                    lost.add(() -> transfer.failed(i, null));
                }
            }
            case TRUNCATED -> {
                int length = below(frame.length);
                target.put(frame, 0, length);
                transfer.done(i, below(2) == 0 ? length : frame.length);
            }
            case FLIPPED -> {
                int bit = below(8 * frame.length);
                frame[bit / 8] ^= (byte) (1 << bit % 8);
                target.put(frame);
                transfer.done(i, frame.length);
            }
            case TWICE -> {
                target.put(frame);
                transfer.done(i, frame.length);
                transfer.failed(i, null);
            }
            case WRITTEN_AFTER -> {
                target.put(frame);
                transfer.done(i, frame.length);
                target.clear();
                while (target.hasRemaining()) {
                    target.put((byte) 0x55);
                }
            }
            case WRONG_KEY -> {
                byte[] other = another(transfer.key(i));
                target.put(other);
                transfer.done(i, other.length);
            }
            case WRONG_LAYOUT -> {
                ByteBuffer header = ByteBuffer.wrap(frame).order(ByteOrder.LITTLE_ENDIAN);
                header.putLong(16, ~header.getLong(16));
                CRC32C crc = new CRC32C();
                crc.update(frame, 0, 124);
                header.putInt(124, (int) crc.getValue());
                target.put(frame);
                transfer.done(i, frame.length);
            }
            default -> transfer.failed(i, new IOException("made up"));
        }
    }

    private synchronized byte[] another(BlockKey key) {
        Map.Entry<String, byte[]> next = kept.higherEntry(key.hex());
        return (next == null ? kept.firstEntry() : next).getValue();
    }

    private void after(int millis, Runnable task) {
        later.schedule(task, millis, TimeUnit.MILLISECONDS).isDone();
    }

    @Override
    public void store(BlockTransfer transfer) {
        stepsThread.mustNotRun();
        for (int i = 0; i < transfer.size(); i++) {
            int index = i;
            if (happens(Fault.DELAYED, Fault.FAILED, Fault.THROWN)) {
                switch (any(Fault.DELAYED, Fault.FAILED, Fault.THROWN)) {
                    case DELAYED -> after(20, () -> keep(transfer, index));
                    case FAILED -> transfer.failed(i, new IOException("made up"));
                    default -> throw new IllegalStateException("made up");
                }
            } else {
                keep(transfer, i);
            }
        }
    }

    private void keep(BlockTransfer transfer, int i) {
        ByteBuffer frame = transfer.frame(i);
        byte[] copy = new byte[frame.remaining()];
        frame.get(copy);
        synchronized (this) {
            kept.put(transfer.key(i).hex(), copy);
            if (kept.size() > 400) {
                kept.pollFirstEntry();
            }
        }
        transfer.done(i, copy.length);
    }

    @Override
    public synchronized void forget(BlockKey key) {
        kept.remove(key.hex());
    }

    /** Completes what was lost, as when a connection is closed at last. */
    @Override
    public void close() {
        later.shutdown();
        List<Runnable> rest;
        synchronized (this) {
            rest = List.copyOf(lost);
            lost.clear();
        }
        rest.forEach(Runnable::run);
        stepsThread.rethrow();
    }
}
