package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/** Frames whose content is a function of a number, and transfers of them that wait, for tests of a store by itself. */
final class TestFrames {
    private final BlockFrame form;
    private final int frameBytes;

    TestFrames(int payloadBytes) {
        form = new BlockFrame(new LayoutFingerprint(1, 2), 16, payloadBytes, 0);
        frameBytes = form.frameBytes();
    }

    int frameBytes() {
        return frameBytes;
    }

    BlockKey key(int number) {
        Random random = new Random(number);
        return new BlockKey(random.nextLong(), random.nextLong(), random.nextLong(), random.nextLong());
    }

    List<BlockKey> keys(int from, int to) {
        List<BlockKey> keys = new ArrayList<>();
        for (int i = from; i < to; i++) {
            keys.add(key(i));
        }
        return keys;
    }

    ByteBuffer frame(int number) {
        ByteBuffer frame = ByteBuffer.allocateDirect(frameBytes);
        byte[] payload = new byte[frameBytes - BlockFrame.HEADER];
        new Random(~number).nextBytes(payload);
        frame.put(BlockFrame.HEADER, payload);
        form.seal(frame, key(number));
        return frame;
    }

    /** What became of the blocks of one transfer. */
    static final class Waiting implements BlockTransfer.Listener {
        final List<BlockTransfer.Outcome> outcomes;
        final int[] bytes;
        private final CountDownLatch left;

        Waiting(int blocks) {
            outcomes = Collections.synchronizedList(
                    new ArrayList<>(Collections.nCopies(blocks, BlockTransfer.Outcome.FAILED)));
            bytes = new int[blocks];
            left = new CountDownLatch(blocks);
        }

        @Override
        public void completed(
                BlockTransfer transfer,
                int index,
                BlockTransfer.Outcome outcome,
                int moved,
                @Nullable Throwable cause) {
            outcomes.set(index, outcome);
            bytes[index] = moved;
            left.countDown();
        }

        Waiting await() {
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

    static long soon() {
        return System.nanoTime() + TimeUnit.SECONDS.toNanos(10);
    }

    /** Asks for a block that is in no test, as another prompt begins. */
    void anotherPrompt(BlockStore store) throws IOException {
        assertThat(store.lookup(List.of(key(-1)), soon())).isZero();
    }

    BlockTransfer.Outcome store(BlockStore store, int number) {
        Waiting waiting = new Waiting(1);
        store.store(
                new BlockTransfer(List.of(key(number)), List.of(frame(number).asReadOnlyBuffer()), soon(), waiting));
        return waiting.await().outcomes.get(0);
    }

    /** Whether the store gives the block back, null when it says not to have it, false when what it gives is not the block. */
    @Nullable
    Boolean load(BlockStore store, int number) {
        ByteBuffer target = ByteBuffer.allocateDirect(frameBytes);
        Waiting waiting = new Waiting(1);
        store.load(new BlockTransfer(List.of(key(number)), List.of(target), soon(), waiting));
        if (waiting.await().outcomes.get(0) != BlockTransfer.Outcome.DONE) {
            return null;
        }
        return form.check(target, waiting.bytes[0], key(number)) == BlockFrame.Verdict.INTACT
                && target.clear().equals(frame(number).clear());
    }
}
