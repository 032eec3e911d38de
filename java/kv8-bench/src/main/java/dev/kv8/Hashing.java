package dev.kv8;

import java.util.SplittableRandom;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;

/** The key of a block from its parent's and its tokens, one after the other as in a prompt. */
@State(Scope.Thread)
public class Hashing {
    private static final int BATCH = 256;

    @Param({"16", "32", "64", "128"})
    public int blockSize;

    private int[] tokens = {};
    private final long[] key = new long[PrefixIndex.KEY];
    private PrefixHasher hasher = new PrefixHasher(16);

    @Setup
    public void draw() {
        hasher = new PrefixHasher(blockSize);
        tokens = new SplittableRandom(1)
                .ints((long) BATCH * blockSize, 0, 128_000)
                .toArray();
    }

    @Benchmark
    @OperationsPerInvocation(BATCH)
    public long sha256() {
        for (int i = 0; i < BATCH; i++) {
            hasher.child(key, 0, tokens, i * blockSize, key, 0);
        }
        return key[0];
    }
}
