package dev.kv8;

import dev.kv8.BlockTransfer.Outcome;
import dev.kv8.TierCounters.Kind;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;

/** One tier's part in a {@link PrefixLoad}: transfers of a run of blocks that it said to have, and what they give. */
final class TierLoad {
    private final Tier tier;
    private final PrefixLoad load;
    private final AtomicInteger open = new AtomicInteger(1);
    private final AtomicBoolean failed = new AtomicBoolean();
    private TierTransferEvent.@Nullable Load event;
    private final AtomicInteger moved = new AtomicInteger();
    private final AtomicLong movedBytes = new AtomicLong();
    private int asked;

    TierLoad(Tier tier, PrefixLoad load) {
        this.tier = tier;
        this.load = load;
    }

    /** Starts a transfer for each group of blocks, as fast as there are frames. For the tier's load thread. */
    void run(int first, int count) throws InterruptedException {
        asked = count;
        if (count > 0 && CacheRecording.isOn()) {
            event = new TierTransferEvent.Load();
            event.begin();
        }
        try {
            int group = Math.max(1, tier.store().transferBytes() / load.form().frameBytes());
            int end = first + count;
            for (int at = first; at < end && at < load.limit(); ) {
                List<Frame> frames = frames(Math.min(group, end - at));
                if (frames.isEmpty()) {
                    return; // the deadline has passed, which the writer sees
                }
                transfer(at, frames);
                at += frames.size();
            }
        } finally {
            closed();
        }
    }

    /** At least one, as soon as there is one, and of the rest those that are there. */
    private List<Frame> frames(int count) throws InterruptedException {
        List<Frame> frames = new ArrayList<>(count);
        Frame frame = tier.loadFrames().take(load.deadlineNanos());
        while (frame != null) {
            frames.add(frame);
            frame = frames.size() < count ? tier.loadFrames().tryTake() : null;
        }
        return frames;
    }

    private void transfer(int first, List<Frame> frames) {
        List<BlockKey> keys = load.keys().subList(first, first + frames.size());
        BlockTransfer transfer = new BlockTransfer(
                keys, frames.stream().map(Frame::whole).toList(), load.deadlineNanos(), new Arrivals(first, frames));
        open.incrementAndGet();
        try {
            tier.store().load(transfer);
        } catch (RuntimeException e) {
            transfer.failRest(e);
        }
    }

    /** One transfer or the run itself has ended. */
    private void closed() {
        if (open.decrementAndGet() > 0) {
            return;
        }
        if (event != null) {
            event.end(tier.store().name(), asked, moved.get(), movedBytes.get(), failed.get());
        }
        if (load.ends(tier)) {
            tier.judge(!failed.get());
        }
    }

    /** Checks what arrives and passes it on; on the threads of the store. */
    private final class Arrivals implements BlockTransfer.Listener {
        private final int first;
        private final List<Frame> frames;
        private final AtomicInteger left;

        Arrivals(int first, List<Frame> frames) {
            this.first = first;
            this.frames = frames;
            this.left = new AtomicInteger(frames.size());
        }

        @Override
        public void completed(
                BlockTransfer transfer, int index, Outcome outcome, int bytes, @Nullable Throwable cause) {
            Frame frame = frames.get(index);
            boolean passedOn = false;
            try {
                boolean whole = outcome == Outcome.DONE && isWhole(frame, bytes, first + index);
                passedOn = whole && load.arrived(first + index, frame, tier);
                if (!whole) {
                    count(outcome, cause);
                    load.missing(first + index);
                }
            } finally {
                if (!passedOn) {
                    frame.release();
                }
                if (left.decrementAndGet() == 0) {
                    closed();
                }
            }
        }

        private boolean isWhole(Frame frame, int bytes, int index) {
            BlockKey key = load.key(index);
            BlockFrame.Verdict verdict = frame.accept(bytes, key, load.form());
            switch (verdict) {
                case INTACT -> {
                    tier.counters().add(Kind.LOADED, 1);
                    tier.counters().add(Kind.LOADED_BYTES, bytes);
                    moved.incrementAndGet();
                    movedBytes.addAndGet(bytes);
                }
                case DAMAGED ->
                    tier.counters()
                            .trouble(
                                    Kind.DAMAGED,
                                    1,
                                    "it gave back a block with a wrong length or checksum: ",
                                    bytes + " bytes for " + key);
                case INCOMPATIBLE ->
                    tier.counters()
                            .trouble(
                                    Kind.INCOMPATIBLE,
                                    1,
                                    "it has a block of another format, layout, type or scale: ",
                                    "for " + key);
                case WRONG_KEY ->
                    tier.counters().trouble(Kind.INCOMPATIBLE, 1, "it gave back another block: ", "for " + key);
            }
            if (verdict != BlockFrame.Verdict.INTACT) {
                tier.forget(key);
            }
            return verdict == BlockFrame.Verdict.INTACT;
        }

        private void count(Outcome outcome, @Nullable Throwable cause) {
            if (outcome == Outcome.ABSENT) {
                tier.counters().add(Kind.ABSENT, 1);
            } else if (outcome != Outcome.DONE) {
                failed.set(true);
                load.unsure();
                tier.counters().trouble(Kind.FAILED, 1, "a load failed: ", String.valueOf(cause));
            }
        }

        @Override
        public void repeated(BlockTransfer transfer, int index) {
            tier.counters().trouble(Kind.REPEATED, 1, "it completed a block twice", "");
        }
    }
}
