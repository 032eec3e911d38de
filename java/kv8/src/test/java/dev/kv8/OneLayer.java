package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

/** A cache of one layer, for tests that only care who holds which block. */
final class OneLayer {
    private OneLayer() {}

    /** Blocks of eight tokens, one KV head of 64 channels in FP8; still without a size. */
    static KvCacheConfig.Builder config() {
        return KvCacheConfig.builder()
                .layers(1)
                .kvHeads(1)
                .headSize(64)
                .dtype(KvCacheDType.FP8)
                .blockSize(8);
    }

    /** Ends a test: every block is in one state, and with the cache and {@code others} all memory goes. */
    static void close(KvCache cache, InMemoryBackend backend, DeviceMemory... others) {
        cache.ledger().pool().checkInvariants();
        cache.close();
        for (DeviceMemory other : others) {
            other.close();
        }
        assertThat(backend.liveAllocations()).isZero();
    }
}
