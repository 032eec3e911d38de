package dev.kv8.natives;

import java.util.Random;

/** Seeded inputs, and the 16-bit float formats that Java 17 has no conversion for. */
final class Numbers {
    private Numbers() {}

    /** Normally distributed. */
    static float[] gaussian(Random random, int count) {
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = (float) random.nextGaussian();
        }
        return values;
    }

    /** Any bit pattern: subnormals, infinities and NaN too. */
    static float[] anyFloat(Random random, int count) {
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = Float.intBitsToFloat(random.nextInt());
        }
        return values;
    }

    /** The value of an IEEE half-precision pattern. */
    static float half(int pattern) {
        int exponent = (pattern >> 10) & 0x1F;
        int fraction = pattern & 0x3FF;
        float sign = (pattern & 0x8000) == 0 ? 1 : -1;
        if (exponent == 0x1F) {
            return fraction != 0 ? Float.NaN : sign * Float.POSITIVE_INFINITY;
        }
        return sign
                * (exponent == 0
                        ? Math.scalb((float) fraction, -24)
                        : Math.scalb((float) (fraction | 0x400), exponent - 25));
    }

    /** The value of a bfloat16 pattern. */
    static float bfloat(int pattern) {
        return Float.intBitsToFloat(pattern << 16);
    }

    /** Nearest bfloat16, ties to even; for finite values. */
    static short toBfloat(float value) {
        int bits = Float.floatToRawIntBits(value);
        return (short) ((bits + 0x7FFF + ((bits >>> 16) & 1)) >>> 16);
    }
}
