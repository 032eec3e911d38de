package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.Arrays;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

/** Whether a prefix is fetched goes by what is measured: how fast loads arrive, and how fast prompts are computed. */
class FetchOrComputeTest {
    /** What a block takes to come is far more than a step takes, whatever else a machine does. */
    private static final long DELAY_MILLIS = 300;

    private static final int BLOCKS = 12;

    private final ScheduledExecutorService later = Executors.newSingleThreadScheduledExecutor();
    private int others = 1000;

    private static int[] prompt(int seed) {
        int[] tokens = new int[41]; // five whole blocks, and one token to compute
        Arrays.fill(tokens, seed);
        return tokens;
    }

    /** The tokens that were not computed; then the blocks are evicted. */
    private int serve(KvCache cache, Batch batch, HeadRows rows, int seed) {
        int cached;
        try (Sequence sequence = cache.open(prompt(seed))) {
            sequence.awaitLoaded();
            cached = sequence.cachedTokens();
            assertThat(batch.add(sequence)).isTrue();
            cache.write(0, batch, rows, rows); // a step is measured from its first kernel on
            batch.commit();
        }
        TieredCache.await(() -> !cache.poll());
        if (seed < 1000) {
            for (int i = 0; i < 4; i++) {
                serve(cache, batch, rows, others++);
            }
        }
        return cached;
    }

    @Test
    void aTierThatIsSlowerThanComputingIsLeftAloneButForOneLoadIn32() {
        NamedStore slow = new NamedStore("slow", HostBlockStore.create(ByteSize.mib(16))) {
            @Override
            public void load(BlockTransfer transfer) {
                later.schedule(() -> super.load(transfer), DELAY_MILLIS, TimeUnit.MILLISECONDS)
                        .isDone();
            }
        };
        KvCacheConfig config = OneLayer.config()
                .blocks(BLOCKS)
                .eviction(EvictionPolicyKind.LRU)
                .partialReuse(false) // whose loads have a rate of their own
                .modelId("test")
                .tiers(Tiers.builder()
                        .add(slow)
                        .writtenOnFirstUse(true)
                        .loadDeadline(Duration.ofMinutes(2))
                        .build())
                .build();
        try (SilentBackend backend = new SilentBackend();
                KvCache cache = KvCache.create(backend, config);
                Batch batch = cache.batch();
                DeviceMemory memory = backend.allocate(41 * 64L * Float.BYTES)) {
            HeadRows rows = HeadRows.of(memory, DType.FLOAT32, 1, 64);
            assertThat(serve(cache, batch, rows, 1)).isZero();
            assertThat(serve(cache, batch, rows, 1))
                    .as("how fast it is is not known")
                    .isEqualTo(40);
            for (int i = 1; i < 32; i++) {
                assertThat(serve(cache, batch, rows, 1)).as("load %d", i).isZero();
            }
            assertThat(cache.tierStats().get(0).recomputed()).isEqualTo(31 * 5);
            assertThat(serve(cache, batch, rows, 1)).as("to measure it again").isEqualTo(40);
        } finally {
            later.shutdown();
        }
    }
}
