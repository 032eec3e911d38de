package dev.kv8;

import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;

/** Making a full block reusable: into the index, and known to the policy. */
public class Register extends PoolState {

    @Setup(Level.Invocation)
    public void take() {
        allocate();
        drawNewKeys();
    }

    @Benchmark
    @OperationsPerInvocation(BATCH)
    public void registerFull() {
        register();
    }

    @TearDown(Level.Invocation)
    public void putBack() {
        noteKeys();
        release();
    }
}
