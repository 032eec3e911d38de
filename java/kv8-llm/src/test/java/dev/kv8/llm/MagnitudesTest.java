package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.within;

import dev.kv8.Fp8Format;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Histograms of magnitudes and the scales that follow from them, held against the values themselves. */
class MagnitudesTest {
    private static final ScaleRule MIN_MAX = new ScaleRule.MinMax();
    private static final ScaleRule MSE = new ScaleRule.Mse();

    /** Values of one of several kinds: bell-shaped, heavy-tailed, skewed by zeros, over many powers of two. */
    private static float[] values(long seed) {
        Random random = new Random(seed);
        double unit = Math.pow(2, random.nextInt(24) - 12);
        int kind = random.nextInt(4);
        float[] values = new float[2000 + random.nextInt(20_000)];
        for (int i = 0; i < values.length; i++) {
            double bell = random.nextGaussian();
            values[i] = (float) (unit
                    * switch (kind) {
                        case 0 -> bell;
                        case 1 -> bell * bell * bell;
                        case 2 -> random.nextInt(3) == 0 ? bell : 0;
                        default -> Math.signum(bell) * Math.pow(2, 10 * random.nextDouble() - 5);
                    });
        }
        return values;
    }

    private static MagnitudeCounts counted(float... values) {
        MagnitudeCounts counts = new MagnitudeCounts(1);
        for (float value : values) {
            counts.add(0, value);
        }
        return counts;
    }

    private static MagnitudeHistogram histogram(float... values) {
        return counted(values).histogram(0, 1);
    }

    private static double squaredError(float[] values, float scale, Fp8Format format) {
        double sum = 0;
        for (float value : values) {
            double error = (double) format.decode(format.encode(value / scale)) * scale - value;
            sum += error * error;
        }
        return sum / values.length;
    }

    private static float exactPercentile(float[] values, double percent) {
        float[] sorted = new float[values.length];
        for (int i = 0; i < values.length; i++) {
            sorted[i] = Math.abs(values[i]);
        }
        Arrays.sort(sorted);
        return sorted[(int) (percent / 100 * (sorted.length - 1))];
    }

    @ParameterizedTest
    @ValueSource(longs = {1, 2, 3, 4, 5, 6, 7, 8})
    void dependOnNoOrderAndOnNoSplit(long seed) {
        float[] values = values(seed);
        MagnitudeCounts once = counted(values);
        List<Float> shuffled = new ArrayList<>();
        for (float value : values) {
            shuffled.add(value);
        }
        Random random = new Random(seed);
        Collections.shuffle(shuffled, random);
        MagnitudeCounts[] shards = {new MagnitudeCounts(1), new MagnitudeCounts(1), new MagnitudeCounts(1)};
        for (float value : shuffled) {
            shards[random.nextInt(3)].add(0, value);
        }
        shards[2].merge(shards[0]);
        shards[2].merge(shards[1]);
        assertThat(shards[2]).isEqualTo(once);
        for (ScaleRule rule : List.of(MIN_MAX, new ScaleRule.Percentile(99.9), MSE)) {
            ScaleSearch search = new ScaleSearch(rule, Fp8Format.E4M3FN, 1);
            assertThat(search.scale(shards[2].histogram(0, 1)))
                    .as("seed %d, %s", seed, rule)
                    .isEqualTo(search.scale(once.histogram(0, 1)));
        }
    }

    /** The metric spreads values over their bins; what it misses shows in samples whose few largest values make up the error. */
    @ParameterizedTest
    @ValueSource(longs = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})
    void mseIsNeverWorseThanMinMax(long seed) {
        float[] values = values(seed);
        MagnitudeHistogram histogram = histogram(values);
        for (Fp8Format format : List.of(Fp8Format.E4M3FN, Fp8Format.E5M2)) {
            QuantizationError error = new QuantizationError(format);
            float minMax = new ScaleSearch(MIN_MAX, format, 1).scale(histogram);
            float mse = new ScaleSearch(MSE, format, 1).scale(histogram);
            assertThat(mse).as("seed %d, %s", seed, format).isLessThanOrEqualTo(minMax);
            assertThat(error.squared(histogram, mse))
                    .as("seed %d, %s, its own metric", seed, format)
                    .isLessThanOrEqualTo(error.squared(histogram, minMax));
            double exactMse = squaredError(values, mse, format);
            double exactMinMax = squaredError(values, minMax, format);
            assertThat(exactMse)
                    .as("seed %d, %s, over the values", seed, format)
                    .isLessThanOrEqualTo(exactMinMax * 1.03);
            assertThat(error.squared(histogram, minMax))
                    .as("seed %d, %s, the metric against the values", seed, format)
                    .isCloseTo(exactMinMax, within(0.1 * exactMinMax));
        }
    }

    /** One value far out: a large scale for its sake costs all others, so the best scale lets it saturate or not by the sum. */
    @Test
    void mseFindsWhatAnExhaustiveSearchOverTheValuesFinds() {
        float[] values = values(1);
        values[7] = 4 * histogram(values).max();
        MagnitudeHistogram histogram = histogram(values);
        float found = new ScaleSearch(MSE, Fp8Format.E4M3FN, 1).scale(histogram);
        float minMax = new ScaleSearch(MIN_MAX, Fp8Format.E4M3FN, 1).scale(histogram);
        double least = Double.POSITIVE_INFINITY;
        for (int step = 0; step <= 4096; step++) {
            float candidate = (float) (minMax * Math.pow(2, -step / 1024.0));
            least = Math.min(least, squaredError(values, candidate, Fp8Format.E4M3FN));
        }
        assertThat(squaredError(values, found, Fp8Format.E4M3FN)).isBetween(least, 1.02 * least);
    }

    @ParameterizedTest
    @ValueSource(longs = {1, 2, 3, 4, 5, 6, 7, 8})
    void percentilesAreThoseOfTheValues(long seed) {
        float[] values = values(seed);
        MagnitudeHistogram histogram = histogram(values);
        for (double percent : new double[] {60, 90, 99, 99.9}) {
            float exact = exactPercentile(values, percent);
            // Values lie evenly in a bin only where there are many of them.
            double allowed = percent < 99 ? 0.01 : 0.03;
            assertThat((double) histogram.percentile(percent))
                    .as("seed %d, %s %%", seed, percent)
                    .isCloseTo(exact, within(allowed * exact));
        }
        assertThat(histogram.percentile(100)).isEqualTo(exactPercentile(values, 100));
    }

    @ParameterizedTest
    @ValueSource(longs = {1, 2, 3, 4, 5, 6, 7, 8})
    void aPercentileIgnoresPlantedOutliersThatMinMaxFollows(long seed) {
        float[] values = values(seed);
        float[] planted = values.clone();
        float far = 1000 * histogram(values).max();
        planted[11] = -far;
        planted[12] = far;
        ScaleSearch percentile = new ScaleSearch(new ScaleRule.Percentile(99), Fp8Format.E4M3FN, 1);
        float without = percentile.scale(histogram(values));
        assertThat((double) percentile.scale(histogram(planted)))
                .as("seed %d", seed)
                .isCloseTo(without, within(0.05 * without));
        ScaleSearch minMax = new ScaleSearch(MIN_MAX, Fp8Format.E4M3FN, 1);
        assertThat(minMax.scale(histogram(planted))).isEqualTo(far / 448);
    }

    @Test
    void countZerosAndNansApartAndKeepTheMaximumExactly() {
        MagnitudeHistogram histogram =
                histogram(0, -0.0f, Float.NaN, 3.14159f, -2.71828f, Float.MIN_VALUE, 1e-20f, 1e30f);
        assertThat(histogram.total()).isEqualTo(7);
        assertThat(histogram.zeros()).isEqualTo(2);
        assertThat(histogram.nans()).isEqualTo(1);
        assertThat(histogram.max()).isEqualTo(1e30f);
        assertThat(histogram.above(2)).isCloseTo(3.0 / 7, within(1e-9));
        assertThat(histogram(0, 0).percentile(99)).isZero();
        assertThat(counted(1, 2).firstInfinite()).isEqualTo(-1);
        assertThat(counted(1, Float.NEGATIVE_INFINITY).firstInfinite()).isZero();
    }

    @Test
    void scaleOnlyByWhatIsThere() {
        ScaleSearch percentile = new ScaleSearch(new ScaleRule.Percentile(99), Fp8Format.E5M2, 1);
        assertThat(percentile.scale(histogram(0, 0, 0))).isEqualTo(1);
        assertThat(percentile.scale(histogram())).isEqualTo(1);
        float[] almostZero = new float[1000];
        almostZero[5] = 57344;
        assertThat(percentile.scale(histogram(almostZero))).isEqualTo(1);
        assertThat(new ScaleSearch(MIN_MAX, Fp8Format.E4M3FN, 1.5).scale(histogram(-448, 3)))
                .isEqualTo(1.5f);
        assertThat(new ScaleSearch(MSE, Fp8Format.E4M3FN, 1).scale(histogram(448, 448)))
                .as("448 is exact with scale 1, and with all that saturate less well: of equals the larger")
                .isEqualTo(1);
    }

    @Test
    void knowWhatSaturates() {
        float[] values = new float[1000];
        for (int i = 0; i < values.length; i++) {
            values[i] = i + 1;
        }
        QuantizationError error = new QuantizationError(Fp8Format.E4M3FN);
        MagnitudeHistogram histogram = histogram(values);
        assertThat(error.saturated(histogram, 1)).isCloseTo((1000 - 464) / 1000.0, within(0.005));
        assertThat(error.saturated(histogram, 1000f / 448)).isZero();
    }

    @Test
    void comeBackFromTheirBytes() throws IOException {
        MagnitudeCounts counts = new MagnitudeCounts(2);
        for (float value : values(3)) {
            counts.add(1, value);
        }
        counts.add(0, Float.NaN);
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        counts.writeTo(new DataOutputStream(bytes));
        MagnitudeCounts read = new MagnitudeCounts(2);
        read.readFrom(new DataInputStream(new ByteArrayInputStream(bytes.toByteArray())));
        assertThat(read).isEqualTo(counts);
    }

    @Test
    void rulesAreReadByName() {
        assertThat(ScaleRule.parse("MinMax", 99)).isEqualTo(MIN_MAX);
        assertThat(ScaleRule.parse("percentile", 99)).isEqualTo(new ScaleRule.Percentile(99));
        assertThat(ScaleRule.parse("mse", 99)).isEqualTo(MSE);
        assertThatIllegalArgumentException()
                .isThrownBy(() -> ScaleRule.parse("median", 99))
                .withMessageContaining("minmax, percentile and mse");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> new ScaleRule.Percentile(50))
                .withMessageContaining("percentile is 50.0; it must be above 50");
    }
}
