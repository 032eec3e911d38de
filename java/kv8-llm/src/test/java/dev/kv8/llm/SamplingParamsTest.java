package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.within;

import java.util.function.Consumer;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class SamplingParamsTest {
    private static void refused(Consumer<SamplingParams.Builder> setting, String message) {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> setting.accept(SamplingParams.builder()))
                .withMessageContaining(message);
    }

    @Test
    void refusesValuesOutOfRangeByName() {
        refused(b -> b.temperature(-0.1), "temperature is -0.1; it must be 0 (greedy) to 100");
        refused(b -> b.temperature(Double.NaN), "temperature is NaN");
        refused(b -> b.topP(0), "topP is 0.0; it must be more than 0 and at most 1");
        refused(b -> b.topP(1.1), "topP is 1.1");
        refused(b -> b.topP(Double.NaN), "topP is NaN");
        refused(b -> b.topK(-1), "topK is -1; it must be 0 (all tokens) or more");
        refused(b -> b.maxTokens(0), "maxTokens is 0; it must be 1 or more");
        refused(b -> b.n(0), "n is 0; it must be 1 or more");
        refused(b -> b.n(2).temperature(0).build(), "n is 2 and temperature 0");
        refused(b -> b.minP(-0.1), "minP is -0.1; it must be 0 (all tokens) to 1");
        refused(b -> b.minP(Double.NaN), "minP is NaN");
        refused(b -> b.repetitionPenalty(0), "repetitionPenalty is 0.0; it must be more than 0");
        refused(b -> b.repetitionPenalty(Double.NaN), "repetitionPenalty is NaN");
        refused(b -> b.presencePenalty(2.1), "presencePenalty is 2.1; it must be -2 to 2");
        refused(b -> b.frequencyPenalty(Double.NaN), "frequencyPenalty is NaN");
        refused(b -> b.logprobs(21), "logprobs is 21; it must be 0 to 20");
        refused(b -> b.logprobs(-1), "logprobs is -1");
        refused(b -> b.stop("a", ""), "A stop string is empty");
        refused(b -> b.stopTokenIds(3, -3), "a stop token id is -3");
        refused(b -> b.stop("x".repeat(1025)), "the length of a stop string is 1025; it must be at most 1024");
        String[] stops = IntStream.range(0, 64).mapToObj(i -> "stop " + i).toArray(String[]::new);
        refused(b -> b.stop(stops).stop("one"), "the number of stop strings is 65; it must be at most 64");
        refused(b -> b.stopTokenIds(new int[1025]), "the number of stop token ids is 1025; it must be at most 1024");
    }

    @Test
    void hasTheDefaultsOfVllm() {
        SamplingParams params = SamplingParams.builder().build();
        assertThat(params.temperature()).isEqualTo(1);
        assertThat(params.topP()).isEqualTo(1);
        assertThat(params.topK()).isZero();
        assertThat(params.n()).isEqualTo(1);
        assertThat(params.minP()).isZero();
        assertThat(params.repetitionPenalty()).isEqualTo(1);
        assertThat(params.presencePenalty()).isZero();
        assertThat(params.frequencyPenalty()).isZero();
        assertThat(params.logprobs()).isEmpty();
        assertThat(params.maxTokens()).isEqualTo(16);
        assertThat(params.seed()).isEmpty();
        assertThat(params.ignoreEos()).isFalse();
    }

    @Test
    void randomNumbersAreUniformAndDifferByPlaceAndSeed() {
        double sum = 0;
        double sumOfSquares = 0;
        int draws = 100_000;
        for (int i = 0; i < draws; i++) {
            float u = Sampler.uniform(i / 100, i % 100);
            assertThat(u).isGreaterThanOrEqualTo(0).isLessThan(1);
            sum += u;
            sumOfSquares += u * u;
        }
        assertThat(sum / draws).isCloseTo(1 / 2.0, within(0.005));
        assertThat(sumOfSquares / draws).isCloseTo(1 / 3.0, within(0.005));
        assertThat(Sampler.uniform(1, 0)).isNotEqualTo(Sampler.uniform(0, 1)).isNotEqualTo(Sampler.uniform(1, 1));
    }
}
