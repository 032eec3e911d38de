package dev.kv8.llm;

import dev.kv8.BlockKey;
import dev.kv8.BlockStore;
import dev.kv8.BlockTransfer;
import dev.kv8.ByteSize;
import dev.kv8.HostBlockStore;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.List;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.stream.IntStream;

/** Host memory that gives all blocks of a load but the last, which comes when it is let go. */
final class UnfinishedStore implements BlockStore {
    private final BlockStore kept = HostBlockStore.create(ByteSize.mib(16));
    private final ConcurrentLinkedQueue<Runnable> withheld = new ConcurrentLinkedQueue<>();

    void letGo() {
        Runnable next;
        while ((next = withheld.poll()) != null) {
            next.run();
        }
    }

    @Override
    public String name() {
        return "unfinished";
    }

    @Override
    public void prepare(int frameBytes) {
        kept.prepare(frameBytes);
    }

    @Override
    public int lookup(List<BlockKey> keys, long deadlineNanos) throws IOException {
        return kept.lookup(keys, deadlineNanos);
    }

    @Override
    public void load(BlockTransfer transfer) {
        int last = transfer.size() - 1;
        if (last > 0) {
            kept.load(part(transfer, 0, last));
        }
        withheld.add(() -> kept.load(part(transfer, last, last + 1)));
    }

    private static BlockTransfer part(BlockTransfer whole, int from, int to) {
        List<BlockKey> keys = IntStream.range(from, to).mapToObj(whole::key).toList();
        List<ByteBuffer> frames =
                IntStream.range(from, to).mapToObj(whole::frame).toList();
        return new BlockTransfer(keys, frames, whole.deadlineNanos(), (part, index, outcome, bytes, cause) -> {
            if (outcome == BlockTransfer.Outcome.DONE) {
                whole.done(from + index, bytes);
            } else {
                whole.failed(from + index, cause);
            }
        });
    }

    @Override
    public void store(BlockTransfer transfer) {
        kept.store(transfer);
    }

    @Override
    public void forget(BlockKey key) {
        kept.forget(key);
    }

    @Override
    public void close() {
        letGo();
        kept.close();
    }
}
