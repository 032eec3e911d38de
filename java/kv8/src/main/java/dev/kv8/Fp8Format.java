package dev.kv8;

import java.util.Objects;

/**
 * The four 8-bit float formats, encoded and decoded in plain Java, bit for bit as the kernels do.
 *
 * <p>Encoding rounds once from float32 to nearest, ties to even, keeps subnormals and saturates: what is beyond the largest
 * finite value, infinities too, becomes that value; NaN becomes the canonical NaN (0x7F, FNUZ 0x80). -0 and negative
 * underflow stay 0x80 in the OCP formats and become 0x00 in FNUZ, where 0x80 is NaN. float16 and bfloat16 widen exactly
 * to float32 first, so encoding them through {@code float} rounds once too.
 *
 * <p>Immutable; any thread may use it.
 */
public enum Fp8Format {
    /** OCP E4M3: bias 7, max 448, NaN 0x7F and 0xFF, no infinity. */
    E4M3FN(3, 7, 0x7E, false, DType.E4M3FN),
    /** OCP E5M2: bias 15, max 57344, infinities and NaNs as in IEEE 754. */
    E5M2(2, 15, 0x7B, false, DType.E5M2),
    /** AMD gfx942: bias 8, max 240, NaN 0x80 only, no -0, no infinity. */
    E4M3FNUZ(3, 8, 0x7F, true, DType.E4M3FNUZ),
    /** AMD gfx942: bias 16, max 57344, NaN 0x80 only, no -0, no infinity. */
    E5M2FNUZ(2, 16, 0x7F, true, DType.E5M2FNUZ);

    private static final int SIGN = 0x80;
    private static final int FLOAT_FRACTION_BITS = 23;
    private static final int FLOAT_HIDDEN_BIT = 1 << FLOAT_FRACTION_BITS;
    private static final int FLOAT_BIAS = 127;
    private static final int FLOAT_INFINITY = 0x7F80_0000;

    private final int fractionBits;
    private final int bias;
    private final int maxCode;
    private final boolean fnuz;
    private final DType dtype;

    @SuppressWarnings("ImmutableEnumChecker") // filled by the constructor, never handed out
    private final float[] values = new float[256];

    Fp8Format(int fractionBits, int bias, int maxCode, boolean fnuz, DType dtype) {
        this.fractionBits = fractionBits;
        this.bias = bias;
        this.maxCode = maxCode;
        this.fnuz = fnuz;
        this.dtype = dtype;
        for (int code = 0; code < values.length; code++) {
            values[code] = valueOf(code);
        }
    }

    /**
     * The format of an FP8 element type.
     *
     * @throws IllegalArgumentException when {@code dtype} is a 16 or 32-bit type
     */
    public static Fp8Format of(DType dtype) {
        for (Fp8Format format : values()) {
            if (format.dtype == dtype) {
                return format;
            }
        }
        throw new IllegalArgumentException(
                dtype + " is not an FP8 type; the FP8 types are e4m3fn, e5m2, e4m3fnuz and e5m2fnuz.");
    }

    /** The type that has this format. */
    public DType dtype() {
        return dtype;
    }

    /** The largest finite value: 448, 57344, 240 or 57344. */
    public float maxValue() {
        return values[maxCode];
    }

    /** The code of {@code x}, rounded once. */
    public byte encode(float x) {
        int bits = Float.floatToRawIntBits(x);
        int magnitude = bits & 0x7FFF_FFFF;
        int sign = (bits >>> 24) & SIGN;
        if (magnitude >= FLOAT_INFINITY) {
            return magnitude > FLOAT_INFINITY ? (byte) (fnuz ? 0x80 : 0x7F) : (byte) (sign | maxCode);
        }
        int code = Math.min(round(magnitude), maxCode);
        return (byte) (fnuz && code == 0 ? 0 : sign | code);
    }

    /** Nearest code of a finite magnitude as if there were no largest one; a carry moves into the exponent by itself. */
    private int round(int magnitude) {
        int biased = magnitude >>> FLOAT_FRACTION_BITS;
        int exponent = Math.max(biased, 1) - FLOAT_BIAS;
        int significand = magnitude & (FLOAT_HIDDEN_BIT - 1);
        if (biased != 0) {
            significand |= FLOAT_HIDDEN_BIT;
        }
        int belowNormal = Math.max(0, 1 - bias - exponent);
        int shift = FLOAT_FRACTION_BITS - fractionBits + belowNormal;
        if (shift > FLOAT_FRACTION_BITS + 1) {
            return 0; // less than half of the smallest subnormal
        }
        int kept = significand >>> shift;
        int lost = significand & ((1 << shift) - 1);
        int half = 1 << (shift - 1);
        if (lost > half || (lost == half && (kept & 1) != 0)) {
            kept++;
        }
        // `kept` carries the hidden bit of a normal result, which counts one into the exponent field.
        return belowNormal > 0 ? kept : ((exponent + bias - 1) << fractionBits) + kept;
    }

    /** The exact value of {@code code}; a NaN code gives {@link Float#NaN}. */
    public float decode(byte code) {
        return values[code & 0xFF];
    }

    private float valueOf(int code) {
        int magnitude = code & (SIGN - 1);
        if (fnuz && code == SIGN) {
            return Float.NaN;
        }
        if (magnitude > maxCode) {
            boolean infinity = fractionBits == 2 && magnitude == maxCode + 1;
            return infinity ? (code < SIGN ? Float.POSITIVE_INFINITY : Float.NEGATIVE_INFINITY) : Float.NaN;
        }
        int exponent = magnitude >>> fractionBits;
        int fraction = magnitude & ((1 << fractionBits) - 1);
        int significand = exponent == 0 ? fraction : fraction | (1 << fractionBits);
        float value = Math.scalb((float) significand, Math.max(exponent, 1) - bias - fractionBits);
        return code < SIGN ? value : -value;
    }

    /**
     * Encodes {@code count} elements.
     *
     * @throws IndexOutOfBoundsException when a range is not inside its array; nothing is written then
     */
    public void encode(float[] source, int sourceOffset, byte[] target, int targetOffset, int count) {
        Objects.checkFromIndexSize(sourceOffset, count, source.length);
        Objects.checkFromIndexSize(targetOffset, count, target.length);
        for (int i = 0; i < count; i++) {
            target[targetOffset + i] = encode(source[sourceOffset + i]);
        }
    }

    /**
     * Decodes {@code count} elements.
     *
     * @throws IndexOutOfBoundsException when a range is not inside its array; nothing is written then
     */
    public void decode(byte[] source, int sourceOffset, float[] target, int targetOffset, int count) {
        Objects.checkFromIndexSize(sourceOffset, count, source.length);
        Objects.checkFromIndexSize(targetOffset, count, target.length);
        for (int i = 0; i < count; i++) {
            target[targetOffset + i] = values[source[sourceOffset + i] & 0xFF];
        }
    }
}
