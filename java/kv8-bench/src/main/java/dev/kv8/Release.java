package dev.kv8;

import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.Setup;

/** Giving a registered block back: the last reference, and the end of the policy's list. */
public class Release extends PoolState {

    @Setup(Level.Invocation)
    public void take() {
        chooseCached();
        copyKeys();
        takeCached();
    }

    @Benchmark
    @OperationsPerInvocation(BATCH)
    public void releaseCached() {
        release();
    }
}
