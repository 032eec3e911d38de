package dev.kv8.natives;

import static org.assertj.core.api.Assertions.assertThat;

import dev.kv8.Batch;
import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.KvCache;
import dev.kv8.KvCacheConfig;
import dev.kv8.KvCacheDType;
import dev.kv8.KvScales;
import dev.kv8.Sequence;
import dev.kv8.SwappedSequence;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** A sequence that is swapped out and in again and again, its blocks overwritten meanwhile, attends to the same bits. */
class SwapTest extends CpuTest {
    private static final int LAYERS = 3;
    private static final int KV_HEADS = 2;
    private static final int QUERY_HEADS = 4;
    private static final int SIZE = 64;
    private static final int ROWS = 32;
    private static final int STEPS = 24;

    @ParameterizedTest(name = "{0}, dynamic scales {1}, prefix caching {2}")
    @CsvSource({"FP8_E4M3, false, true", "FP8_E4M3, true, false", "FP8_E5M2, true, true", "BFLOAT16, false, false"})
    void attendsToTheSameBits(KvCacheDType dtype, boolean dynamic, boolean prefixCaching) {
        KvCacheConfig config = KvCacheConfig.builder()
                .layers(LAYERS)
                .kvHeads(KV_HEADS)
                .headSize(SIZE)
                .blockSize(8)
                .blocks(8)
                .dtype(dtype)
                .scales(dynamic ? KvScales.dynamic(LAYERS) : KvScales.none(LAYERS))
                .prefixCaching(prefixCaching)
                .build();
        assertThat(run(config, true)).containsExactlyElementsOf(run(config, false));
    }

    /** The results of every call to attend, in order. */
    private List<float[]> run(KvCacheConfig config, boolean swapping) {
        List<float[]> results = new ArrayList<>();
        try (DeviceMemory qMemory = device.poisoned(4L * ROWS * QUERY_HEADS * SIZE);
                DeviceMemory kMemory = device.poisoned(4L * ROWS * KV_HEADS * SIZE);
                DeviceMemory vMemory = device.poisoned(4L * ROWS * KV_HEADS * SIZE);
                DeviceMemory outMemory = device.poisoned(4L * ROWS * QUERY_HEADS * SIZE);
                KvCache cache = KvCache.create(backend, config);
                Batch batch = cache.batch()) {
            HeadRows q = HeadRows.of(qMemory, DType.FLOAT32, QUERY_HEADS, SIZE);
            HeadRows k = HeadRows.of(kMemory, DType.FLOAT32, KV_HEADS, SIZE);
            HeadRows v = HeadRows.of(vMemory, DType.FLOAT32, KV_HEADS, SIZE);
            HeadRows out = HeadRows.of(outMemory, DType.FLOAT32, QUERY_HEADS, SIZE);
            Random random = new Random(11);
            Random other = new Random(12);
            Sequence sequence = cache.open(new int[21]);
            for (int step = 0; step < STEPS; step++) {
                assertThat(batch.add(sequence)).isTrue();
                for (int layer = 0; layer < LAYERS; layer++) {
                    fill(qMemory, random);
                    fill(kMemory, random);
                    fill(vMemory, random);
                    cache.write(layer, batch, k, v);
                    cache.attend(layer, batch, q, out);
                    results.add(device.readFloats(outMemory, batch.tokens() * QUERY_HEADS * SIZE));
                }
                batch.commit();
                sequence.append(step);
                if (swapping && step % 3 == 1) {
                    SwappedSequence away = cache.swapOut(sequence);
                    assertThat(cache.swappedBytes()).isEqualTo(away.bytes()).isPositive();
                    for (int round = 0; round < 2 && step % 2 == 0; round++) {
                        overwrite(cache, batch, k, v, kMemory, vMemory, other, 4 + round);
                    }
                    sequence = cache.swapIn(away).orElseThrow();
                    assertThat(sequence.computedTokens()).isEqualTo(21 + step);
                    assertThat(cache.swappedBytes()).isZero();
                }
            }
        }
        return results;
    }

    private void fill(DeviceMemory memory, Random random) {
        var bytes = Device.buffer((int) memory.bytes());
        bytes.asFloatBuffer().put(Numbers.gaussian(random, (int) memory.bytes() / 4));
        backend.upload(bytes, memory, 0);
    }

    /** Another sequence writes to as many blocks. */
    private void overwrite(
            KvCache cache,
            Batch batch,
            HeadRows k,
            HeadRows v,
            DeviceMemory kMemory,
            DeviceMemory vMemory,
            Random random,
            int blocks) {
        int[] tokens = random.ints(8L * blocks, 0, 1000).toArray();
        Sequence sequence = cache.open(tokens);
        while (sequence.pendingTokens() > 0) {
            assertThat(batch.add(sequence, Math.min(ROWS, sequence.pendingTokens())))
                    .isTrue();
            for (int layer = 0; layer < LAYERS; layer++) {
                fill(kMemory, random);
                fill(vMemory, random);
                cache.write(layer, batch, k, v);
            }
            batch.commit();
        }
        sequence.close();
    }
}
