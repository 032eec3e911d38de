package dev.kv8.llm;

import dev.kv8.DType;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.List;

/**
 * A tensor in a safetensors file: its shape and where its bytes are. The file must stay open while it is read.
 *
 * @param begin of its bytes in the file, header included
 */
record StoredTensor(SafetensorsFile file, String name, StoredType type, List<Long> shape, long begin, long bytes) {

    /** The type that kernels read it as. */
    DType dtype() {
        return type.dtype()
                .orElseThrow(() -> new CheckpointException(file.path() + ": tensor " + name + " is " + type
                        + "; the engine reads F32, F16 and BF16. Use a checkpoint whose weights are not quantized."));
    }

    long elements() {
        return bytes / type.bytes();
    }

    /** The {@code length} bytes from {@code offset} inside the tensor, mapped, little-endian. */
    ByteBuffer map(long offset, int length) {
        return file.map(begin + offset, length);
    }

    String shapeText() {
        return shape.toString();
    }

    boolean hasShape(long... expected) {
        return shape.equals(Arrays.stream(expected).boxed().toList());
    }

    /** All elements as float32; for small tensors. */
    float[] toFloats() {
        DType dtype = dtype();
        ByteBuffer source = map(0, Math.toIntExact(bytes));
        float[] result = new float[Math.toIntExact(elements())];
        for (int i = 0; i < result.length; i++) {
            result[i] = switch (dtype) {
                case FLOAT32 -> source.getFloat();
                case BFLOAT16 -> Float.intBitsToFloat(source.getShort() << 16);
                default -> halfToFloat(source.getShort());
            };
        }
        return result;
    }

    static float halfToFloat(short bits) {
        int sign = (bits & 0x8000) << 16;
        int exponent = (bits >> 10) & 0x1f;
        int mantissa = bits & 0x3ff;
        if (exponent == 0) {
            float magnitude = mantissa * 0x1p-24f;
            return sign == 0 ? magnitude : -magnitude;
        }
        int widened = exponent == 31 ? 0xff : exponent - 15 + 127;
        return Float.intBitsToFloat(sign | (widened << 23) | (mantissa << 13));
    }
}
