package dev.kv8;

import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;

/** A hit: a block is found, one reference more, out of the list of those that make room. Less {@link Lookup} it is the touch alone. */
public class Touch extends PoolState {

    @Setup(Level.Invocation)
    public void choose() {
        chooseCached();
        copyKeys();
    }

    @Benchmark
    @OperationsPerInvocation(BATCH)
    public void lookupAndTouch() {
        takeCached();
    }

    @TearDown(Level.Invocation)
    public void putBack() {
        release();
    }
}
