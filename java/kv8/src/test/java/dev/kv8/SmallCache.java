package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import dev.kv8.KvScales.LayerScales;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;

/** A test with a cache of four blocks in memory, of which nothing may be left at the end. */
abstract class SmallCache {
    static final int HEAD_SIZE = 64;

    final InMemoryBackend backend = new InMemoryBackend(true);
    final DeviceMemory rows = backend.allocate(64 * HEAD_SIZE * 4L);
    final HeadRows oneHead = HeadRows.of(rows, DType.FLOAT32, 1, HEAD_SIZE);
    final KvCache cache = KvCache.create(backend, config().build());
    final Batch batch = cache.batch();

    /** Three layers, four blocks of eight tokens; only layer 2 has scales by token. */
    static KvCacheConfig.Builder config() {
        return KvCacheConfig.builder()
                .layers(3)
                .kvHeads(1)
                .headSize(HEAD_SIZE)
                .dtype(KvCacheDType.FP8)
                .modelDtype(DType.FLOAT32)
                .skipLayers(1)
                .scales(KvScales.builder(3, 1, HEAD_SIZE)
                        .layer(2, LayerScales.DYNAMIC)
                        .build())
                .blockSize(8)
                .blocks(4);
    }

    @BeforeEach
    void zeroRows() {
        backend.fill(rows, 0, rows.bytes(), (byte) 0);
    }

    @AfterEach
    void nothingStaysAllocated() {
        cache.close();
        rows.close();
        assertThat(backend.liveAllocations()).isZero();
    }
}
