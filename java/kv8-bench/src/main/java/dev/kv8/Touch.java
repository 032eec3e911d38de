package dev.kv8;

import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;

/** What a hit does to a block that was found: one reference more, out of the list of those that make room. */
public class Touch extends PoolState {

    @Setup(Level.Invocation)
    public void choose() {
        chooseCached();
    }

    @Benchmark
    @OperationsPerInvocation(BATCH)
    public void touchCached() {
        for (int i = 0; i < BATCH; i++) {
            pool.take(batch[i], SequenceOptions.DEFAULT);
        }
    }

    @TearDown(Level.Invocation)
    public void putBack() {
        release();
    }
}
