package dev.kv8.redis;

import dev.kv8.BlockKey;
import dev.kv8.BlockStore;
import dev.kv8.BlockTransfer;
import dev.kv8.BlockTransfer.Outcome;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/** Transfers of blocks by number, with bytes that are a function of it; waits for their end. */
final class Transfers {
    private static final System.Logger LOG = System.getLogger("dev.kv8.redis");

    private Transfers() {}

    /** What became of a transfer's blocks. */
    static final class Result implements BlockTransfer.Listener {
        final Outcome[] outcomes;
        final int[] bytes;
        final List<@Nullable Throwable> causes = new ArrayList<>();
        private final CountDownLatch left;

        Result(int blocks) {
            outcomes = new Outcome[blocks];
            bytes = new int[blocks];
            left = new CountDownLatch(blocks);
        }

        @Override
        public void completed(
                BlockTransfer transfer, int index, Outcome outcome, int moved, @Nullable Throwable cause) {
            outcomes[index] = outcome;
            bytes[index] = moved;
            synchronized (causes) {
                causes.add(cause);
            }
            left.countDown();
        }

        Result await() {
            try {
                if (!left.await(20, TimeUnit.SECONDS)) {
                    throw new AssertionError(left.getCount() + " blocks were never completed");
                }
            } catch (InterruptedException e) {
                throw new AssertionError(e);
            }
            return this;
        }
    }

    static BlockKey key(int number) {
        Random random = new Random(number);
        return new BlockKey(random.nextLong(), random.nextLong(), random.nextLong(), random.nextLong());
    }

    static List<BlockKey> keys(int from, int to) {
        List<BlockKey> keys = new ArrayList<>();
        for (int i = from; i < to; i++) {
            keys.add(key(i));
        }
        return keys;
    }

    static ByteBuffer bytes(int number, int length) {
        byte[] bytes = new byte[length];
        new Random(~number).nextBytes(bytes);
        return ByteBuffer.allocateDirect(length).put(bytes).flip();
    }

    static ByteBuffer room(int length) {
        return ByteBuffer.allocateDirect(length);
    }

    static long soon() {
        return System.nanoTime() + TimeUnit.SECONDS.toNanos(10);
    }

    static Result store(BlockStore store, List<BlockKey> keys, List<ByteBuffer> frames) {
        Result result = new Result(keys.size());
        store.store(new BlockTransfer(keys, frames, soon(), result));
        return result.await();
    }

    static Result load(BlockStore store, List<BlockKey> keys, List<ByteBuffer> rooms) {
        Result result = new Result(keys.size());
        store.load(new BlockTransfer(keys, rooms, soon(), result));
        return result.await();
    }

    static Outcome store(BlockStore store, int number, int length) {
        Result result =
                store(store, List.of(key(number)), List.of(bytes(number, length).asReadOnlyBuffer()));
        if (result.outcomes[0] == Outcome.FAILED) {
            LOG.log(System.Logger.Level.INFO, "block " + number + " failed: " + result.causes);
        }
        return result.outcomes[0];
    }

    /** Whether it comes back as it was; null when the store says not to have it. */
    static @Nullable Boolean load(BlockStore store, int number, int length) {
        ByteBuffer room = room(length);
        Result result = load(store, List.of(key(number)), List.of(room));
        if (result.outcomes[0] != Outcome.DONE) {
            return null;
        }
        return result.bytes[0] == length && room.equals(bytes(number, length));
    }
}
