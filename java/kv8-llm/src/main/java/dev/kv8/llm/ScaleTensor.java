package dev.kv8.llm;

import dev.kv8.DType;
import dev.kv8.KvScales;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.List;

/** The scales of K or V of one layer as a checkpoint stores them. */
final class ScaleTensor {
    private final String name;
    private final StoredType type;
    private final List<Integer> shape;
    private final byte[] bytes;

    private ScaleTensor(String name, StoredType type, List<Integer> shape, byte[] bytes) {
        this.name = name;
        this.type = type;
        this.shape = shape;
        this.bytes = bytes;
    }

    /**
     * Static scales, each rounded to the nearest value of {@code dtype}, in the shape {@code [1]}, {@code [kvHeads, 1, 1]} or
     * {@code [kvHeads, 1, headSize]}.
     *
     * @throws IllegalArgumentException naming a scale that a 16-bit type can't hold, or a type that scales are not stored in
     */
    static ScaleTensor of(String name, KvScales.Side side, int headSize, DType dtype) {
        StoredType type = storedType(dtype);
        float[] values = side.values();
        List<Integer> shape = switch (side.granularity()) {
            case TENSOR -> List.of(1);
            case HEAD -> List.of(values.length, 1, 1);
            case CHANNEL -> List.of(values.length / headSize, 1, headSize);
            case NONE, DYNAMIC ->
                throw new IllegalArgumentException(name + " would be " + side + "; only static scales are stored.");
        };
        ByteBuffer bytes = ByteBuffer.allocate(values.length * type.bytes()).order(ByteOrder.LITTLE_ENDIAN);
        for (float value : values) {
            float rounded = round(value, dtype);
            try {
                KvScales.checkScale(rounded, name);
            } catch (IllegalArgumentException e) {
                throw new IllegalArgumentException(
                        name + " is " + value + ", which " + dtype + " can't hold; store scales in float32.", e);
            }
            switch (dtype) {
                case FLOAT32 -> bytes.putFloat(value);
                case BFLOAT16 -> bytes.putShort((short) (Float.floatToRawIntBits(rounded) >>> 16));
                default -> bytes.putShort(halfBits(rounded));
            }
        }
        return new ScaleTensor(name, type, shape, bytes.array());
    }

    private static StoredType storedType(DType dtype) {
        return switch (dtype) {
            case FLOAT32 -> StoredType.F32;
            case BFLOAT16 -> StoredType.BF16;
            case FLOAT16 -> StoredType.F16;
            default ->
                throw new IllegalArgumentException(
                        "Scales are stored in float32, bfloat16 or float16, not " + dtype + ".");
        };
    }

    /** To nearest, ties to even. */
    private static float round(float value, DType dtype) {
        return switch (dtype) {
            case FLOAT32 -> value;
            case BFLOAT16 -> {
                int bits = Float.floatToRawIntBits(value);
                yield Float.intBitsToFloat((bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000);
            }
            default -> {
                double step = Math.scalb(1.0, Math.max(Math.getExponent(value), -14) - 10);
                double nearest = Math.rint(value / step) * step;
                yield nearest > 65504 ? Float.POSITIVE_INFINITY : (float) nearest;
            }
        };
    }

    /** Of a positive value that float16 has. */
    private static short halfBits(float value) {
        if (value < 0x1p-14f) {
            return (short) (value * 0x1p24f);
        }
        int bits = Float.floatToRawIntBits(value);
        return (short) (((Math.getExponent(value) + 15) << 10) | ((bits >>> 13) & 0x3ff));
    }

    String name() {
        return name;
    }

    StoredType type() {
        return type;
    }

    /** Little-endian. */
    ByteBuffer bytes() {
        return ByteBuffer.wrap(bytes);
    }

    int size() {
        return bytes.length;
    }

    /** The value that a safetensors header has for it. */
    String entry(long begin) {
        return "{\"dtype\":\"" + type + "\",\"shape\":" + shape + ",\"data_offsets\":[" + begin + ","
                + (begin + bytes.length) + "]}";
    }
}
