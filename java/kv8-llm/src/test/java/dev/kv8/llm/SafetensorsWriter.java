package dev.kv8.llm;

import dev.kv8.DType;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.StringJoiner;

/** Writes safetensors files, good ones from tensors and hostile ones from any header. */
final class SafetensorsWriter {
    private final StringJoiner entries = new StringJoiner(",", "{", "}");
    private final ByteArrayOutputStream data = new ByteArrayOutputStream();

    SafetensorsWriter tensor(String name, DType dtype, float[] values, long... shape) {
        ByteBuffer bytes = ByteBuffer.allocate(values.length * dtype.bytes()).order(ByteOrder.LITTLE_ENDIAN);
        for (float value : values) {
            switch (dtype) {
                case FLOAT32 -> bytes.putFloat(value);
                case BFLOAT16 -> bytes.putShort((short) (Float.floatToRawIntBits(value) >>> 16));
                case FLOAT16 -> bytes.putShort(half(value));
                default -> throw new IllegalArgumentException(dtype + " is not written by tests");
            }
        }
        String type = switch (dtype) {
            case FLOAT32 -> "F32";
            case BFLOAT16 -> "BF16";
            default -> "F16";
        };
        return raw(name, type, bytes.array(), shape);
    }

    SafetensorsWriter raw(String name, String type, byte[] bytes, long... shape) {
        int begin = data.size();
        data.writeBytes(bytes);
        entries.add("\"" + name + "\":{\"dtype\":\"" + type + "\",\"shape\":" + Arrays.toString(shape)
                + ",\"data_offsets\":[" + begin + "," + data.size() + "]}");
        return this;
    }

    void write(Path file) {
        write(file, entries.toString(), data.toByteArray());
    }

    /** A file with this header, right or wrong, and these bytes behind it. */
    static void write(Path file, String header, byte[] data) {
        byte[] json = header.getBytes(StandardCharsets.UTF_8);
        write(file, json.length, json, data);
    }

    static void write(Path file, long headerLength, byte[] header, byte[] data) {
        ByteBuffer all = ByteBuffer.allocate(8 + header.length + data.length).order(ByteOrder.LITTLE_ENDIAN);
        all.putLong(headerLength).put(header).put(data);
        try {
            Files.write(file, all.array());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** Exact for the values that tests use: multiples of 2^-10 below 2. */
    private static short half(float value) {
        int bits = Float.floatToRawIntBits(value);
        int sign = (bits >>> 16) & 0x8000;
        float magnitude = Math.abs(value);
        if (magnitude < 0x1p-14f) {
            return (short) (sign | Math.round(magnitude * 0x1p24f));
        }
        int exponent = Math.getExponent(magnitude);
        return (short) (sign | ((exponent + 15) << 10) | ((bits >>> 13) & 0x3ff));
    }
}
