package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.nio.FloatBuffer;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

class LogitRowTest {
    private static final float NONE = Float.NEGATIVE_INFINITY;
    private static Tokenizer tokenizer;

    @BeforeAll
    static void load() {
        tokenizer = Tokenizer.load(TinyModel.FOLDER);
    }

    @AfterAll
    static void close() {
        tokenizer.close();
    }

    private static float[] changed(SamplingParams.Builder params, int[] tokens, int promptLength, float... logits) {
        LogitRow row = new LogitRow(logits.length, tokenizer);
        row.read(FloatBuffer.wrap(logits));
        row.change(params.build(), tokens, promptLength, tokens.length);
        float[] result = new float[logits.length];
        row.write(FloatBuffer.wrap(result));
        return result;
    }

    @Test
    void theRepetitionPenaltyCountsPromptAndTextOnce() {
        assertThat(changed(SamplingParams.builder().repetitionPenalty(2), new int[] {0, 1, 1, 2}, 3, 4, -3, 6, 8, 0))
                .containsExactly(2, -6, 3, 8, 0);
    }

    @Test
    void aPenaltyMakesNoLogitInfinite() {
        float most = Float.MAX_VALUE;
        for (double penalty : new double[] {Double.MIN_VALUE, 1e-39, 100}) {
            SamplingParams.Builder params = SamplingParams.builder().repetitionPenalty(penalty);
            float[] changed = changed(params, new int[] {0, 1, 2, 3}, 4, 4, -most, 0, NONE, 9);
            assertThat(changed[0]).isBetween(-most, most);
            assertThat(changed[1]).isBetween(-most, most);
            assertThat(changed).endsWith(0, NONE, 9);
        }
    }

    @Test
    void presenceAndFrequencyCountTheTextAlone() {
        assertThat(changed(
                        SamplingParams.builder().presencePenalty(0.5).frequencyPenalty(1),
                        new int[] {3, 0, 1, 1},
                        1,
                        4,
                        4,
                        4,
                        4))
                .containsExactly(2.5f, 1.5f, 4, 4);
    }

    /** At temperature 2 half the probability is a logit of 2 ln 2 = 1.386 less. */
    @Test
    void minPCutsAtTheTemperature() {
        SamplingParams.Builder params = SamplingParams.builder().temperature(2).minP(0.5);
        assertThat(changed(params, new int[] {0}, 1, 5, 3.62f, 3.61f, 4.9f)).containsExactly(5, 3.62f, NONE, 4.9f);
        assertThat(changed(params.temperature(0), new int[] {0}, 1, 5, 3.6f)).containsExactly(5, 3.6f);
    }

    @Test
    void aRowKeepsNothingOfTheOneBefore() {
        LogitRow row = new LogitRow(3, tokenizer);
        SamplingParams params = SamplingParams.builder()
                .repetitionPenalty(2)
                .frequencyPenalty(1)
                .build();
        float[] result = new float[3];
        for (int i = 0; i < 2; i++) {
            row.read(FloatBuffer.wrap(new float[] {4, 4, 4}));
            row.change(params, new int[] {0, 1, 1}, 1, 3);
            row.write(FloatBuffer.wrap(result));
            assertThat(result).containsExactly(2, 0, 4);
        }
    }

    @Test
    void probabilitiesAreThoseOfTheRow() {
        LogitRow row = new LogitRow(4, tokenizer);
        row.read(FloatBuffer.wrap(new float[] {1, 3, 3, 2}));
        double sum = Math.exp(1) + 2 * Math.exp(3) + Math.exp(2);
        TokenLogprobs found = row.probabilities(3).of(0);
        assertThat(found.tokenId()).isZero();
        assertThat(found.logprob()).isCloseTo(1 - Math.log(sum), within(1e-12));
        assertThat(found.top()).extracting(TokenLogprobs.Alternative::tokenId).containsExactly(1, 2, 3);
        assertThat(found.top().get(2).logprob()).isCloseTo(2 - Math.log(sum), within(1e-12));
        assertThat(row.probabilities(0).of(1).top()).isEmpty();
        assertThat(row.probabilities(20).of(1).top()).hasSize(4);
    }
}
