package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.Test;

class QualitySumsTest {
    private static final int TOKENS = 4000;
    private static final long SEED = 20261126;

    /** Made-up tokens: negative log-likelihoods with and without quantization, divergences, agreements. */
    private final double[] nll = new double[TOKENS];

    private final double[] reference = new double[TOKENS];
    private final double[] kl = new double[TOKENS];
    private final boolean[] agrees = new boolean[TOKENS];

    QualitySumsTest() {
        Random random = new Random(SEED);
        for (int i = 0; i < TOKENS; i++) {
            reference[i] = -Math.log(random.nextDouble()) * 3;
            nll[i] = reference[i] + 0.05 * random.nextGaussian() + 0.01;
            kl[i] = Math.pow(random.nextGaussian(), 2) * 1e-3;
            agrees[i] = random.nextInt(20) > 0;
        }
    }

    private QualitySums sums(int from, int to) {
        QualitySums sums = new QualitySums();
        for (int i = from; i < to; i++) {
            sums.add(nll[i], reference[i], kl[i], agrees[i]);
        }
        return sums;
    }

    @Test
    void meansAndStandardErrorsAreThoseOfADirectComputation() {
        PredictionQuality quality = sums(0, TOKENS).quality();
        double[] delta = new double[TOKENS];
        Arrays.setAll(delta, i -> nll[i] - reference[i]);
        assertThat(quality.tokens()).isEqualTo(TOKENS);
        assertThat(quality.perplexity()).isCloseTo(Math.exp(mean(nll)), within(1e-9));
        assertThat(quality.perplexitySe()).isCloseTo(Math.exp(mean(nll)) * meanError(nll), within(1e-9));
        assertThat(quality.nllDelta()).isCloseTo(mean(delta), within(1e-12));
        assertThat(quality.nllDeltaSe()).isCloseTo(meanError(delta), within(1e-10));
        assertThat(quality.klMean()).isCloseTo(mean(kl), within(1e-15));
        assertThat(quality.klMeanSe()).isCloseTo(meanError(kl), within(1e-12));
        assertThat(quality.klMax()).isEqualTo(Arrays.stream(kl).max().orElseThrow());
    }

    /** Whatever the formulas, this is what a standard error means: how much a figure varies over samples of that size. */
    @Test
    void standardErrorsAreTheSpreadOverResampledTexts() {
        PredictionQuality quality = sums(0, TOKENS).quality();
        int resamples = 500;
        double[][] figures = new double[4][resamples];
        Random random = new Random(SEED + 1);
        for (int sample = 0; sample < resamples; sample++) {
            QualitySums sums = new QualitySums();
            for (int i = 0; i < TOKENS; i++) {
                int token = random.nextInt(TOKENS);
                sums.add(nll[token], reference[token], kl[token], agrees[token]);
            }
            PredictionQuality resampled = sums.quality();
            figures[0][sample] = resampled.perplexity();
            figures[1][sample] = resampled.nllDelta();
            figures[2][sample] = resampled.klMean();
            figures[3][sample] = resampled.top1Agreement();
        }
        double[] errors = {quality.perplexitySe(), quality.nllDeltaSe(), quality.klMeanSe(), quality.top1Se()};
        for (int figure = 0; figure < errors.length; figure++) {
            // 500 resamples give a spread to about 3 %.
            assertThat(deviation(figures[figure]))
                    .as("figure %d, seed %d", figure, SEED)
                    .isCloseTo(errors[figure], within(0.15 * errors[figure]));
        }
    }

    @Test
    void thePairedDifferenceIsKnownFarBetterThanPerplexityItself() {
        PredictionQuality quality = sums(0, TOKENS).quality();
        assertThat(quality.nllDeltaSe() * 20).isLessThan(quality.perplexitySe() / quality.perplexity());
    }

    @Test
    void partsAddUpToTheWhole() {
        QualitySums whole = new QualitySums();
        whole.add(sums(0, 1));
        whole.add(sums(1, 700));
        whole.add(sums(700, TOKENS));
        PredictionQuality expected = sums(0, TOKENS).quality();
        PredictionQuality actual = whole.quality();
        assertThat(actual.tokens()).isEqualTo(expected.tokens());
        assertThat(actual.perplexity()).isCloseTo(expected.perplexity(), within(1e-9));
        assertThat(actual.klMeanSe()).isCloseTo(expected.klMeanSe(), within(1e-12));
        assertThat(actual.klMax()).isEqualTo(expected.klMax());
        assertThat(actual.top1Agreement()).isEqualTo(expected.top1Agreement());
    }

    @Test
    void aSingleTokenHasNoStandardError() {
        assertThat(sums(0, 1).quality().klMeanSe()).isNaN();
    }

    @Test
    void aBudgetIsHeldWithTwoStandardErrorsToSpare() {
        PredictionQuality quality = sums(0, TOKENS).quality();
        double edge = quality.klMean() + 2 * quality.klMeanSe();
        assertThat(quality.klWithin(edge)).isTrue();
        assertThat(quality.klWithin(edge * (1 - 1e-12))).isFalse();
    }

    @Test
    void positionsAreCountedByPowersOfTwo() {
        int[] last = {127, 255, 511, 1023};
        for (int bucket = 0; bucket < last.length; bucket++) {
            assertThat(PositionBucket.index(last[bucket])).isEqualTo(bucket);
            assertThat(PositionBucket.index(last[bucket] + 1)).isEqualTo(bucket + 1);
        }
        PredictionQuality quality = sums(0, 2).quality();
        assertThat(PositionBucket.of(0, 64, quality)).isEqualTo(new PositionBucket(0, 63, quality));
        assertThat(PositionBucket.of(2, 400, quality)).isEqualTo(new PositionBucket(256, 399, quality));
    }

    private static double mean(double[] values) {
        return Arrays.stream(values).average().orElseThrow();
    }

    private static double deviation(double[] values) {
        double mean = mean(values);
        double squares = Arrays.stream(values).map(x -> (x - mean) * (x - mean)).sum();
        return Math.sqrt(squares / (values.length - 1));
    }

    private static double meanError(double[] values) {
        return deviation(values) / Math.sqrt(values.length);
    }
}
