package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.Arrays;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledIfSystemProperty;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * Every code and every input that can round differently, against a reference that searches the list of all values: FP8 values
 * and their midpoints are exact in double, so nearest and ties-to-even are decided without rounding.
 */
class Fp8FormatTest {

    /** The definition of a format, written apart from the code under test. */
    private static final class Reference {
        final boolean fnuz;
        final boolean ieee;
        final int fractionBits;
        final int bias;
        /** Magnitudes by code, ascending, up to the largest finite one. */
        final double[] magnitudes;

        Reference(Fp8Format format) {
            fnuz = format == Fp8Format.E4M3FNUZ || format == Fp8Format.E5M2FNUZ;
            ieee = format == Fp8Format.E5M2;
            fractionBits = format == Fp8Format.E4M3FN || format == Fp8Format.E4M3FNUZ ? 3 : 2;
            bias = switch (format) {
                case E4M3FN -> 7;
                case E5M2 -> 15;
                case E4M3FNUZ -> 8;
                case E5M2FNUZ -> 16;
            };
            int last = ieee ? 0x7B : fnuz ? 0x7F : 0x7E;
            magnitudes =
                    IntStream.rangeClosed(0, last).mapToDouble(this::magnitude).toArray();
        }

        private double magnitude(int code) {
            int exponent = code >> fractionBits;
            double fraction = (code & ((1 << fractionBits) - 1)) / (double) (1 << fractionBits);
            return exponent == 0 ? fraction * Math.pow(2, 1 - bias) : (1 + fraction) * Math.pow(2, exponent - bias);
        }

        double max() {
            return magnitudes[magnitudes.length - 1];
        }

        int encode(float x) {
            if (Float.isNaN(x)) {
                return fnuz ? 0x80 : 0x7F;
            }
            double a = Math.abs((double) x);
            int code = magnitudes.length - 1;
            if (a < max()) {
                code = Arrays.binarySearch(magnitudes, a);
                if (code < 0) {
                    int below = -code - 2;
                    double middle = (magnitudes[below] + magnitudes[below + 1]) / 2;
                    code = a < middle || (a == middle && below % 2 == 0) ? below : below + 1;
                }
            }
            boolean negative = (Float.floatToRawIntBits(x) >>> 31) != 0;
            return negative && !(fnuz && code == 0) ? code | 0x80 : code;
        }

        double decode(int code) {
            int magnitude = code & 0x7F;
            double sign = code < 0x80 ? 1 : -1;
            if (fnuz && code == 0x80) {
                return Double.NaN;
            }
            if (magnitude < magnitudes.length) {
                return sign * magnitudes[magnitude];
            }
            return ieee && magnitude == 0x7C ? sign * Double.POSITIVE_INFINITY : Double.NaN;
        }
    }

    private static void check(Fp8Format format, Reference reference, float x) {
        int expected = reference.encode(x);
        int got = format.encode(x) & 0xFF;
        if (got != expected) {
            throw new AssertionError(String.format(
                    "%s encode(%s = 0x%08X) = 0x%02X, exact arithmetic gives 0x%02X",
                    format, x, Float.floatToRawIntBits(x), got, expected));
        }
    }

    @ParameterizedTest
    @EnumSource
    void everyCodeDecodesToItsDefinition(Fp8Format format) {
        Reference reference = new Reference(format);
        for (int code = 0; code < 256; code++) {
            float value = format.decode((byte) code);
            assertThat(Float.floatToIntBits(value))
                    .as("%s code 0x%02X", format, code)
                    .isEqualTo(Float.floatToIntBits((float) reference.decode(code)));
        }
        assertThat((double) format.maxValue()).isEqualTo(reference.max());
    }

    @ParameterizedTest
    @EnumSource
    void everyFiniteCodeSurvivesARoundTrip(Fp8Format format) {
        for (int code = 0; code < 256; code++) {
            float value = format.decode((byte) code);
            if (Float.isFinite(value)) {
                assertThat(format.encode(value) & 0xFF).isEqualTo(code);
            }
        }
    }

    @ParameterizedTest
    @EnumSource
    void everyHalfPrecisionPatternIsEncodedExactly(Fp8Format format) {
        Reference reference = new Reference(format);
        for (int bits = 0; bits < 1 << 16; bits++) {
            check(format, reference, widenFloat16(bits));
            check(format, reference, Float.intBitsToFloat(bits << 16));
        }
    }

    @ParameterizedTest
    @EnumSource
    void everyHalfwayPointAndItsNeighboursAreEncodedExactly(Fp8Format format) {
        Reference reference = new Reference(format);
        double[] magnitudes = reference.magnitudes;
        for (int code = 0; code < magnitudes.length; code++) {
            double above = code + 1 < magnitudes.length ? magnitudes[code + 1] : 2 * magnitudes[code];
            checkAround(format, reference, (float) magnitudes[code]);
            checkAround(format, reference, (float) ((magnitudes[code] + above) / 2));
        }
        for (float x : new float[] {
            0,
            Float.MIN_VALUE,
            Float.MIN_NORMAL,
            464,
            465,
            480,
            61440,
            65536,
            248,
            Float.MAX_VALUE,
            Float.POSITIVE_INFINITY
        }) {
            checkAround(format, reference, x);
        }
        for (int payload : new int[] {0x7FC00000, 0xFFC00000, 0x7F800001, 0xFFFFFFFF, 0x7FFFFFFF}) {
            check(format, reference, Float.intBitsToFloat(payload));
        }
    }

    private static void checkAround(Fp8Format format, Reference reference, float x) {
        for (float y : new float[] {x, Math.nextUp(x), Math.nextDown(x), Math.nextUp(Math.nextUp(x))}) {
            check(format, reference, y);
            check(format, reference, -y);
        }
    }

    @ParameterizedTest
    @EnumSource
    void randomPatternsAreEncodedExactly(Fp8Format format) {
        Reference reference = new Reference(format);
        Random random = new Random(1);
        for (int i = 0; i < 1_000_000; i++) {
            check(format, reference, Float.intBitsToFloat(random.nextInt()));
        }
    }

    /** Some minutes: -Dkv8.exhaustive=true */
    @ParameterizedTest
    @EnumSource
    @EnabledIfSystemProperty(named = "kv8.exhaustive", matches = "true")
    void everyFloatIsEncodedExactly(Fp8Format format) {
        Reference reference = new Reference(format);
        int bits = 0;
        do {
            check(format, reference, Float.intBitsToFloat(bits));
        } while (++bits != 0);
    }

    @ParameterizedTest
    @CsvSource({
        "E4M3FN, 1.0, 0x38",
        "E4M3FN, 448, 0x7E",
        "E4M3FN, 1000, 0x7E",
        "E4M3FN, -Infinity, 0xFE",
        "E4M3FN, -0.0, 0x80",
        "E4M3FN, 0.001953125, 0x01",
        "E4M3FN, 0.0009765625, 0x00",
        "E5M2, 1.0, 0x3C",
        "E5M2, 57344, 0x7B",
        "E5M2, Infinity, 0x7B",
        "E5M2, NaN, 0x7F",
        "E4M3FNUZ, 1.0, 0x40",
        "E4M3FNUZ, 240, 0x7F",
        "E4M3FNUZ, -1e-9, 0x00",
        "E4M3FNUZ, NaN, 0x80",
        "E5M2FNUZ, 1.0, 0x40",
        "E5M2FNUZ, -57344, 0xFF",
    })
    void codesThatTheStandardsPrint(Fp8Format format, float x, String code) {
        assertThat(format.encode(x) & 0xFF).isEqualTo(Integer.decode(code));
    }

    @ParameterizedTest
    @EnumSource
    void arraysAreConvertedElementByElement(Fp8Format format) {
        float[] source = {9, 0.1f, -3, Float.NaN, 1e9f, 7};
        byte[] codes = new byte[8];
        format.encode(source, 1, codes, 2, 4);
        for (int i = 0; i < 4; i++) {
            assertThat(codes[2 + i]).isEqualTo(format.encode(source[1 + i]));
        }
        assertThat(codes[1]).isZero();
        assertThat(codes[6]).isZero();
        float[] values = new float[6];
        format.decode(codes, 2, values, 1, 4);
        for (int i = 0; i < 4; i++) {
            assertThat(Float.floatToIntBits(values[1 + i]))
                    .isEqualTo(Float.floatToIntBits(format.decode(codes[2 + i])));
        }
        assertThat(values[0]).isZero();
        assertThat(values[5]).isZero();
    }

    @Test
    void arrayRangesAreCheckedBeforeAnythingIsWritten() {
        byte[] codes = new byte[4];
        assertThatThrownBy(() -> Fp8Format.E4M3FN.encode(new float[] {1, 2, 3}, 1, codes, 0, 3))
                .isInstanceOf(IndexOutOfBoundsException.class);
        assertThatThrownBy(() -> Fp8Format.E4M3FN.encode(new float[] {1, 2, 3, 4, 5}, 0, codes, 0, 5))
                .isInstanceOf(IndexOutOfBoundsException.class);
        assertThat(codes).containsOnly(0);
        assertThatThrownBy(() -> Fp8Format.E4M3FN.decode(codes, 0, new float[2], 0, 3))
                .isInstanceOf(IndexOutOfBoundsException.class);
    }

    @Test
    void formatsAreFoundByElementType() {
        for (Fp8Format format : Fp8Format.values()) {
            assertThat(Fp8Format.of(format.dtype())).isEqualTo(format);
        }
        assertThatThrownBy(() -> Fp8Format.of(DType.BFLOAT16))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("bfloat16 is not an FP8 type")
                .hasMessageContaining("e4m3fn");
    }

    private static float widenFloat16(int bits) {
        int exponent = (bits >> 10) & 0x1F;
        int fraction = bits & 0x3FF;
        float magnitude;
        if (exponent == 0x1F) {
            magnitude = fraction == 0 ? Float.POSITIVE_INFINITY : Float.NaN;
        } else if (exponent == 0) {
            magnitude = Math.scalb((float) fraction, -24);
        } else {
            magnitude = Math.scalb((float) (fraction | 0x400), exponent - 25);
        }
        return (bits & 0x8000) == 0 ? magnitude : -magnitude;
    }
}
