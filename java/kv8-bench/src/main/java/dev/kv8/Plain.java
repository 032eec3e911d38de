package dev.kv8;

import java.util.SplittableRandom;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;

/** The operations of {@link PoolState} on a {@link PlainLru}, in chains: what they cost a machine at the least. */
public class Plain {
    private Plain() {}

    /** A pool whose blocks are all cached, in chains that lie anywhere. */
    @State(Scope.Thread)
    public static class Pool {
        static final int BATCH = PoolState.BATCH;
        private static final int CHAIN = 32;

        @Param({"10000", "1000000"})
        public int blocks;

        PlainLru pool = new PlainLru(1);
        final int[] batch = new int[BATCH];
        final long[] keys = new long[BATCH];
        private final SplittableRandom random = new SplittableRandom(7);

        @Setup(Level.Trial)
        public void fill() {
            pool = new PlainLru(blocks);
            int[] chains = new int[blocks / CHAIN];
            for (int i = 0; i < chains.length; i++) {
                int j = random.nextInt(i + 1);
                chains[i] = chains[j];
                chains[j] = i;
            }
            for (int chain : chains) {
                for (int block = (chain + 1) * CHAIN - 1; block >= chain * CHAIN; block--) {
                    pool.fill(block, random.nextLong());
                }
            }
        }

        void drawKeys() {
            for (int i = 0; i < BATCH; i++) {
                keys[i] = random.nextLong();
            }
        }

        /** The keys of some chains. */
        void chooseCached() {
            int stride = blocks / BATCH;
            int first = random.nextInt(stride);
            for (int i = 0; i < BATCH / CHAIN; i++) {
                int j = random.nextInt(i + 1);
                System.arraycopy(keys, j * CHAIN, keys, i * CHAIN, CHAIN);
                for (int k = 0; k < CHAIN; k++) {
                    keys[j * CHAIN + k] = pool.key((first + i * stride) * CHAIN + k);
                }
            }
        }

        void allocate() {
            for (int i = 0; i < BATCH; i++) {
                batch[i] = pool.allocate();
            }
        }

        void register() {
            for (int i = 0; i < BATCH; i++) {
                pool.register(batch[i], keys[i]);
            }
        }

        void take() {
            for (int i = 0; i < BATCH; i++) {
                batch[i] = pool.take(keys[i]);
            }
        }

        void release() {
            for (int i = BATCH - 1; i >= 0; i--) {
                pool.release(batch[i]);
            }
        }
    }

    /** See {@link dev.kv8.AllocateEvicting}. */
    public static class Allocate extends Pool {
        @Benchmark
        @OperationsPerInvocation(BATCH)
        public void plainEvicting() {
            allocate();
        }

        @TearDown(Level.Invocation)
        public void putBack() {
            drawKeys();
            register();
            release();
        }
    }

    /** See {@link dev.kv8.Register}. */
    public static class Register extends Pool {
        @Setup(Level.Invocation)
        public void makeRoom() {
            allocate();
            drawKeys();
        }

        @Benchmark
        @OperationsPerInvocation(BATCH)
        public void plainRegister() {
            register();
        }

        @TearDown(Level.Invocation)
        public void putBack() {
            release();
        }
    }

    /** See {@link dev.kv8.Touch}. */
    public static class Touch extends Pool {
        @Setup(Level.Invocation)
        public void choose() {
            chooseCached();
        }

        @Benchmark
        @OperationsPerInvocation(BATCH)
        public void plainLookupAndTouch() {
            take();
        }

        @TearDown(Level.Invocation)
        public void putBack() {
            release();
        }
    }

    /** See {@link dev.kv8.Lookup.Hit}. */
    public static class Lookup extends Pool {
        @Setup(Level.Invocation)
        public void choose() {
            chooseCached();
        }

        @Benchmark
        @OperationsPerInvocation(BATCH)
        public int plainLookupHit() {
            int sum = 0;
            for (long key : keys) {
                sum += pool.find(key);
            }
            return sum;
        }
    }
}
