package dev.kv8;

import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.Setup;

/** Finding the block of a key, all of its 256 bits compared. Keys are independent, as those of a prompt once they are made. */
public class Lookup {

    /** Keys of blocks that are there. */
    public static class Hit extends PoolState {
        @Setup(Level.Invocation)
        public void choose() {
            chooseCached();
            copyKeys();
        }

        @Benchmark
        @OperationsPerInvocation(BATCH)
        public int lookupHit() {
            return find();
        }
    }

    /** Keys of none. */
    public static class Miss extends PoolState {
        @Setup(Level.Invocation)
        public void choose() {
            drawNewKeys();
        }

        @Benchmark
        @OperationsPerInvocation(BATCH)
        public int lookupMiss() {
            return find();
        }
    }
}
