package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import org.junit.jupiter.api.Test;

class RopeScalingTest {
    @Test
    void llama3KeepsFastPairsAndStretchesSlowOnes() {
        RopeScaling scaling = new RopeScaling.Llama3(8, 1, 4, 8192);
        double wavelength = 8192.0;
        assertThat(scaling.scale(2 * Math.PI / (wavelength / 4.001))).isEqualTo(2 * Math.PI / (wavelength / 4.001));
        assertThat(scaling.scale(2 * Math.PI / (wavelength * 1.001))).isEqualTo(2 * Math.PI / (wavelength * 1.001) / 8);
    }

    /** Hugging Face's formula by wavelengths, for pair 30 of Llama 3.1 (theta 500000, head size 128). */
    @Test
    void llama3GoesOverSmoothlyBetween() {
        double frequency = Math.pow(500000, -60.0 / 128);
        double wavelength = 2 * Math.PI / frequency;
        double smooth = (8192 / wavelength - 1) / (4 - 1);
        assertThat(smooth).isBetween(0.0, 1.0);
        double expected = (1 - smooth) * frequency / 8 + smooth * frequency;
        assertThat(new RopeScaling.Llama3(8, 1, 4, 8192).scale(frequency)).isCloseTo(expected, within(1e-15));
    }

    @Test
    void linearDividesAll() {
        assertThat(new RopeScaling.Linear(4).scale(0.5)).isEqualTo(0.125);
        assertThat(new RopeScaling.None().scale(0.5)).isEqualTo(0.5);
    }
}
