package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import org.junit.jupiter.api.Test;

class RopeScalingTest {
    /** Pair {@code i} turns 8192 theta^(-2i/128) / 2π times within 8192 positions. */
    private static double turns(int pair) {
        return 8192 * Math.pow(500000, -2.0 * pair / 128) / (2 * Math.PI);
    }

    @Test
    void llama3KeepsFastPairsAndStretchesSlowOnes() {
        double[] plain = new RopeScaling.None().frequencies(500000, 128);
        double[] scaled = new RopeScaling.Llama3(8, 1, 4, 8192).frequencies(500000, 128);
        for (int pair = 0; pair < 64; pair++) {
            if (turns(pair) > 4) {
                assertThat(scaled[pair]).as("pair %d", pair).isEqualTo(plain[pair]);
            } else if (turns(pair) < 1) {
                assertThat(scaled[pair]).as("pair %d", pair).isEqualTo(plain[pair] / 8);
            } else {
                assertThat(scaled[pair]).as("pair %d", pair).isBetween(plain[pair] / 8, plain[pair]);
            }
        }
    }

    /** Hugging Face's formula by wavelengths, for pair 30 of Llama 3.1 (theta 500000, head size 128). */
    @Test
    void llama3GoesOverSmoothlyBetween() {
        double frequency = Math.pow(500000, -60.0 / 128);
        double wavelength = 2 * Math.PI / frequency;
        double smooth = (8192 / wavelength - 1) / (4 - 1);
        assertThat(smooth).isBetween(0.0, 1.0);
        double expected = (1 - smooth) * frequency / 8 + smooth * frequency;
        assertThat(new RopeScaling.Llama3(8, 1, 4, 8192).frequencies(500000, 128)[30])
                .isCloseTo(expected, within(1e-15));
    }

    @Test
    void linearDividesAll() {
        double[] plain = new RopeScaling.None().frequencies(10000, 64);
        double[] scaled = new RopeScaling.Linear(4).frequencies(10000, 64);
        assertThat(plain[1]).isEqualTo(Math.pow(10000, -1.0 / 32));
        assertThat(scaled).hasSize(32);
        for (int pair = 0; pair < 32; pair++) {
            assertThat(scaled[pair]).isEqualTo(plain[pair] / 4);
        }
    }

    /**
     * Qwen2.5's (theta 1e6, head size 128, factor 4 on 32768). By hand: 128 ln(32768 / (2π 32)) / (2 ln 1e6) = 23.6 and, for one turn, 39.6;
     * so pairs up to 23 stay, those from 40 on are divided, and pair 30 is 7/17 of the way.
     */
    @Test
    void yarnGoesOverByThePairsNumber() {
        double magnitude = RopeScaling.Yarn.usualMagnitude(4);
        RopeScaling.Yarn yarn = new RopeScaling.Yarn(4, 32, 1, 32768, magnitude, true);
        double[] plain = new RopeScaling.None().frequencies(1e6, 128);
        double[] scaled = yarn.frequencies(1e6, 128);
        assertThat(magnitude).isCloseTo(1.1386294, within(1e-7));
        assertThat(scaled[23]).isEqualTo(plain[23]);
        assertThat(scaled[24]).isLessThan(plain[24]);
        assertThat(scaled[30]).isCloseTo(plain[30] * (7.0 / 17 / 4 + 10.0 / 17), within(1e-15));
        assertThat(scaled[39]).isGreaterThan(plain[39] / 4);
        assertThat(scaled[40]).isEqualTo(plain[40] / 4);
        assertThat(scaled[63]).isEqualTo(plain[63] / 4);
    }

    @Test
    void yarnStretchesNothingByOne() {
        RopeScaling.Yarn yarn = new RopeScaling.Yarn(1, 32, 1, 2048, RopeScaling.Yarn.usualMagnitude(1), true);
        assertThat(yarn.magnitude()).isEqualTo(1);
        assertThat(yarn.frequencies(10000, 64))
                .containsExactly(new RopeScaling.None().frequencies(10000, 64), within(1e-16));
    }
}
