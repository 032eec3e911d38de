package dev.kv8;

import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.TearDown;

/** Handing out a block when none is free: the policy's choice, its list, the index. */
public class AllocateEvicting extends PoolState {

    @Benchmark
    @OperationsPerInvocation(BATCH)
    public void allocateEvicting() {
        allocate();
    }

    @TearDown(Level.Invocation)
    public void putBack() {
        drawNewKeys();
        register();
        noteKeys();
        release();
    }
}
