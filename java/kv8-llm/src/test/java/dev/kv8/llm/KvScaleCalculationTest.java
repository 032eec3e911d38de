package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import dev.kv8.ByteSize;
import dev.kv8.Fp8Format;
import dev.kv8.KvScales;
import dev.kv8.KvScales.Granularity;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

class KvScaleCalculationTest extends CpuTest {
    private static final String PROMPT = "And Moses said unto the children of Israel,";
    private static final Path OUTLIER = TinyModel.MODELS.resolve("tiny-llama-outlier");

    private static LLM.Builder builder(Path model) {
        return LLM.builder().model(model).backend(backend).kvCacheDType("fp8").kvCacheMemory(ByteSize.mib(4));
    }

    /** The scales after one prompt. */
    private static KvScales scales(KvScaleCalculation how) {
        try (LLM llm = builder(TinyModel.FOLDER).calculateKvScales(how).build()) {
            llm.generate(PROMPT, SamplingParams.greedy(2));
            return llm.cache().scales();
        }
    }

    @Test
    void theFirstPassSetsTheScalesAndLaterOnesDoNot() {
        try (LLM llm = builder(TinyModel.FOLDER)
                .calculateKvScales(KvScaleCalculation.firstPass())
                .build()) {
            assertThat(llm.cache().scales().layer(0)).isEqualTo(KvScales.LayerScales.NONE);
            llm.generate(PROMPT, SamplingParams.greedy(2));
            KvScales.LayerScales first = llm.cache().scales().layer(0);
            assertThat(first.k().granularity()).isEqualTo(Granularity.TENSOR);
            llm.generate("The king of the north came", SamplingParams.greedy(2));
            assertThat(llm.cache().scales().layer(0)).isEqualTo(first);
        }
    }

    @Test
    void randomTokensSetTheScalesBeforeTheFirstPrompt() {
        KvScales.LayerScales[] loaded = new KvScales.LayerScales[2];
        for (int i = 0; i < 2; i++) {
            try (LLM llm = builder(TinyModel.FOLDER)
                    .calculateKvScales(KvScaleCalculation.randomTokens())
                    .build()) {
                loaded[i] = llm.cache().scales().layer(1);
                assertThat(llm.cache().stats().usedBlocks()).isZero();
                assertThat(llm.cache().stats().openSequences()).isZero();
                llm.generate(PROMPT, SamplingParams.greedy(2));
                assertThat(llm.cache().scales().layer(1)).isEqualTo(loaded[i]);
            }
        }
        assertThat(loaded[0].k().granularity()).isEqualTo(Granularity.TENSOR);
        assertThat(loaded[1]).as("loaded again").isEqualTo(loaded[0]);
    }

    @Test
    void aMarginAndVllmsConstantsWidenTheRange() {
        KvScales plain = scales(KvScaleCalculation.firstPass());
        KvScales wide = scales(KvScaleCalculation.firstPass().withMargin(2));
        KvScales vllm = scales(KvScaleCalculation.firstPass().withVllmConstants());
        // The first layer's: what later ones see depends on the codes that the scales gave before.
        float k = plain.layer(0).k().values()[0];
        float v = plain.layer(0).v().values()[0];
        assertThat(wide.layer(0).k().values()).containsExactly(2 * k);
        assertThat(wide.layer(0).v().values()).containsExactly(2 * v);
        assertThat(vllm.layer(0).k().values()[0] / k).isBetween(2.2399f, 2.2401f);
        assertThat(vllm.layer(0).v().values()[0] / v).isBetween(4.4799f, 4.4801f);
    }

    @ParameterizedTest
    @EnumSource(names = {"TENSOR", "HEAD", "CHANNEL"})
    void theLargestOfTheFinerScalesIsTheCoarserOne(Granularity shared) {
        KvScales fine = scales(KvScaleCalculation.firstPass().withGranularity(shared));
        KvScales tensor = scales(KvScaleCalculation.firstPass());
        for (int layer = 0; layer < fine.layers(); layer++) {
            assertThat(fine.layer(layer).k().granularity()).isEqualTo(shared);
            assertThat(fine.layer(layer).v().granularity()).isEqualTo(shared);
        }
        float largest = 0;
        for (float scale : fine.layer(0).k().values()) {
            largest = Math.max(largest, scale);
        }
        assertThat(largest).isEqualTo(tensor.layer(0).k().values()[0]);
    }

    @Test
    void zerosHaveScaleOne() {
        KvScaleCalculation plain = KvScaleCalculation.firstPass();
        assertThat(plain.kScale(0, Fp8Format.E5M2)).isEqualTo(1);
        assertThat(plain.withVllmConstants().vScale(0, Fp8Format.E4M3FN)).isEqualTo(1);
        assertThat(plain.withVllmConstants().vScale(50, Fp8Format.E4M3FN)).isEqualTo(0.5f);
    }

    @ParameterizedTest
    @ValueSource(doubles = {0, 0.99, -1, Double.NaN, 1001})
    void marginsThatNarrowTheRangeAreRefused(double margin) {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> KvScaleCalculation.firstPass().withMargin(margin))
                .withMessageContaining("margin is " + margin);
    }

    @Test
    void whatDoesNotGoTogetherIsRefused() {
        assertThatIllegalArgumentException()
                .isThrownBy(
                        () -> KvScaleCalculation.firstPass().withVllmConstants().withMargin(2))
                .withMessageContaining("give only one of them");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> KvScaleCalculation.firstPass().withGranularity(Granularity.DYNAMIC))
                .withMessageContaining("KvScales.dynamic");
    }

    @Test
    void valuesBeyondScaleOneAreCountedAndTheCureIsNamedOnce() {
        try (LoggedByLlm log = new LoggedByLlm();
                LLM llm = builder(OUTLIER).kvScales(KvScales.none(6)).build()) {
            llm.generate(PROMPT, SamplingParams.greedy(2));
            assertThat(llm.lastStats().saturatedValues()).isPositive();
            assertThat(llm.cache().stats().saturatedValues())
                    .isEqualTo(llm.lastStats().saturatedValues());
            llm.generate(PROMPT, SamplingParams.greedy(2));
            assertThat(llm.cache().stats().saturatedValues())
                    .as("of both calls")
                    .isEqualTo(2 * llm.lastStats().saturatedValues());
            assertThat(log.messages).hasSize(1);
            assertThat(log.messages.get(0))
                    .contains("were clipped", "the scale is 1.0", "kv8 calibrate", "calculateKvScales");
        }
    }

    @Test
    void scalesThatFitLeaveNothingToCount() {
        try (LoggedByLlm log = new LoggedByLlm();
                LLM llm = builder(OUTLIER)
                        .calculateKvScales(KvScaleCalculation.firstPass().withMargin(1.5))
                        .build()) {
            llm.generate(PROMPT, SamplingParams.greedy(2));
            assertThat(llm.lastStats().saturatedValues()).isZero();
            assertThat(log.messages).isEmpty();
        }
    }
}
