package dev.kv8;

import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;

/**
 * Through the door, with kernels that do nothing: new prompts of 64 blocks in a cache that is full of others, for each block: its key, one
 * lookup that fails, an eviction, a registration, a release, and its part of opening and closing a sequence.
 */
@State(Scope.Thread)
public class Prompts {
    private static final int BLOCKS = 64;
    private static final int BLOCK_SIZE = 16;

    @Param({"10000", "1000000"})
    public int blocks;

    @Param({"arc", "lru"})
    public String policy = "";

    private KvCache cache = KvCache.create(NoKernels.open(), config(1024));
    private Batch batch = cache.batch();
    private final int[] tokens = new int[BLOCKS * BLOCK_SIZE];
    private int prompts;

    private KvCacheConfig config(int size) {
        return KvCacheConfig.builder()
                .layers(1)
                .kvHeads(1)
                .headSize(64)
                .dtype(KvCacheDType.FP8)
                .blockSize(BLOCK_SIZE)
                .eviction(policy.isEmpty() ? EvictionPolicyKind.ARC : EvictionPolicyKind.parse(policy))
                .blocks(size)
                .build();
    }

    @Setup
    public void fill() {
        close();
        cache = KvCache.create(NoKernels.open(), config(blocks));
        batch = cache.batch();
        for (int i = 0; i < 6 * blocks / BLOCKS; i++) {
            begin();
            serve();
        }
    }

    @Setup(Level.Invocation)
    public void begin() {
        tokens[0] = prompts++;
        for (int i = 1; i < tokens.length; i++) {
            tokens[i] = i;
        }
    }

    @Benchmark
    @OperationsPerInvocation(BLOCKS)
    public void serve() {
        try (Sequence sequence = cache.open(tokens)) {
            batch.add(sequence);
            batch.commit();
        }
    }

    @TearDown
    public void close() {
        batch.close();
        cache.close();
    }
}
