package dev.kv8;

import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.TearDown;

/** Blocks without a key: from the stack of free ones, whose order is random, and back. */
public class Fresh {

    /** Taking. */
    public static class Allocate extends PoolState {
        @Setup(Level.Iteration)
        public void forget() {
            pool.unregisterAll();
        }

        @Benchmark
        @OperationsPerInvocation(BATCH)
        public void allocateFresh() {
            allocate();
        }

        @TearDown(Level.Invocation)
        public void putBack() {
            release();
        }
    }

    /** Giving back. */
    public static class Free extends PoolState {
        @Setup(Level.Iteration)
        public void forget() {
            pool.unregisterAll();
        }

        @Setup(Level.Invocation)
        public void take() {
            allocate();
        }

        @Benchmark
        @OperationsPerInvocation(BATCH)
        public void free() {
            release();
        }
    }
}
