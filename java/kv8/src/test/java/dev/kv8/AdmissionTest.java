package dev.kv8;

import static dev.kv8.TokenRange.tokens;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.kv8.Admission.Answer;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class AdmissionTest {
    private final SilentBackend backend = new SilentBackend();
    private final KvCache cache = KvCache.create(backend, config().build());
    private final Batch batch = cache.batch();

    /** Twenty blocks of eight tokens, two of them kept for growth. */
    private static KvCacheConfig.Builder config() {
        return OneLayer.config().watermark(0.1).blocks(20);
    }

    @AfterEach
    void close() {
        OneLayer.close(cache, backend);
    }

    private Sequence computed(int first, int count) {
        Sequence sequence = cache.open(tokens(first, count));
        assertThat(batch.add(sequence)).isTrue();
        batch.commit();
        return sequence;
    }

    private static Admission later(int missing) {
        return new Admission(Answer.LATER, missing);
    }

    @Test
    void aPromptThatFillsTheCacheIsAdmittedAlone() {
        assertThat(cache.canAdmit(tokens(0, 160), 0)).isEqualTo(Admission.NOW);
        computed(0, 160).close();
        assertThat(cache.canAdmit(tokens(200, 160), 0).isNow())
                .as("cached blocks are room")
                .isTrue();
    }

    @Test
    void besideOthersTheWatermarkStaysFree() {
        computed(0, 80);
        assertThat(cache.canAdmit(tokens(500, 64), 0)).isEqualTo(Admission.NOW);
        assertThat(cache.canAdmit(tokens(500, 65), 0)).isEqualTo(later(1));
        assertThat(cache.canAdmit(tokens(500, 80), 80)).isEqualTo(later(2));
        assertThat(batch.add(cache.open(tokens(500, 80))))
                .as("the watermark binds who asks, not who grows")
                .isTrue();
    }

    @Test
    void whatCanNeverFitIsNeverAdmitted() {
        assertThat(cache.canAdmit(tokens(0, 100), 60)).isEqualTo(Admission.NOW);
        assertThat(cache.canAdmit(tokens(0, 100), 61)).isEqualTo(new Admission(Answer.NEVER, 1));
        assertThat(cache.canAdmit(tokens(0, 161), 0)).isEqualTo(new Admission(Answer.NEVER, 1));
        assertThat(cache.canAdmit(tokens(0, 8), Integer.MAX_VALUE).answer()).isEqualTo(Answer.NEVER);
    }

    @Test
    void aPrefixThatOthersHoldTakesNoRoom() {
        Sequence system = computed(0, 80);
        int[] prompt = tokens(0, 140);
        assertThat(cache.canAdmit(prompt, 0)).as("8 more blocks of 10, 2 kept").isEqualTo(Admission.NOW);
        assertThat(cache.canAdmit(tokens(0, 148), 0)).isEqualTo(later(1));
        SequenceOptions salted = SequenceOptions.builder().salt("other").build();
        assertThat(cache.canAdmit(salted, prompt, 0)).isEqualTo(later(10));
        computed(300, 8);
        CacheStats before = cache.stats();
        assertThat(cache.canAdmit(prompt, 0)).isEqualTo(later(1));
        assertThat(cache.stats()).as("asking changes nothing").isEqualTo(before);
        system.close();
        assertThat(cache.canAdmit(prompt, 0)).as("19 free, 18 needed, 2 kept").isEqualTo(later(1));
    }

    @Test
    void theLastBlockOfAWholeMatchIsComputedAnew() {
        computed(0, 80);
        computed(200, 64);
        assertThat(cache.stats().freeBlocks()).isEqualTo(2);
        assertThat(cache.canAdmit(tokens(0, 80), 0))
                .as("one block, none beyond the watermark")
                .isEqualTo(later(1));
    }

    @Test
    void withoutPrefixCachingEveryBlockCounts() {
        try (KvCache plain =
                        KvCache.create(backend, config().prefixCaching(false).build());
                Batch step = plain.batch();
                Sequence held = plain.open(tokens(0, 80))) {
            assertThat(step.add(held)).isTrue();
            step.commit();
            assertThat(plain.canAdmit(tokens(0, 140), 0)).isEqualTo(later(10));
        }
    }

    /** A window of 20 tokens over blocks of 8, in steps of a block, touches five blocks at most. */
    @Test
    void withAWindowATextMayBeLongerThanThePool() {
        try (KvCache windowed = KvCache.create(
                        backend, config().window(20).blocks(5).watermark(0).build());
                Batch step = windowed.batch()) {
            assertThat(windowed.canAdmit(tokens(0, 1000), 1000)).isEqualTo(Admission.NOW);
            try (Sequence text = windowed.open(tokens(0, 1000))) {
                for (int computed = 0; computed < 1000; computed += 8) {
                    assertThat(step.add(text, 8)).as("at %d", computed).isTrue();
                    step.commit();
                }
                assertThat(windowed.canAdmit(tokens(2000, 1000), 0).answer()).isEqualTo(Answer.LATER);
            }
        }
        try (KvCache small =
                KvCache.create(backend, config().window(20).blocks(4).build())) {
            assertThat(small.canAdmit(tokens(0, 32), 0)).isEqualTo(Admission.NOW);
            assertThat(small.canAdmit(tokens(0, 33), 0)).isEqualTo(new Admission(Answer.NEVER, 1));
        }
    }

    @Test
    void badInputIsRefused() {
        assertThatThrownBy(() -> cache.canAdmit(tokens(0, 8), -1))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("maxNewTokens is -1; give 0 or more.");
        assertThatThrownBy(() -> cache.canAdmit(new int[] {-5}, 0))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("Token id -5 is negative");
        for (double wrong : new double[] {-0.1, 1.5, Double.NaN}) {
            assertThatThrownBy(() -> config().watermark(wrong).build())
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("watermark is " + wrong + "; give a share of the pool, from 0 to 1.");
            assertThatThrownBy(() -> config().pinnedShare(wrong).build())
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("pinnedShare is " + wrong);
        }
        assertThat(config().build().watermarkBlocks()).isEqualTo(2);
        assertThat(config().build().pinnableBlocks()).isEqualTo(10);
    }
}
