package dev.kv8.llm;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;

/** A safetensors file read as its specification says, with nothing of what the engine reads it with. */
final class StoredModel {
    final JsonObject header;
    final int headerBytes;
    final byte[] data;

    private StoredModel(JsonObject header, int headerBytes, byte[] data) {
        this.header = header;
        this.headerBytes = headerBytes;
        this.data = data;
    }

    /** A tensor; its bytes are compared with what it is and has. */
    record Tensor(String dtype, String shape, ByteBuffer bytes) {
        float[] floats() {
            float[] values = new float[bytes.capacity() / 4];
            bytes.duplicate().order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(values);
            return values;
        }

        /** The elements, whichever of the three types they are of. */
        double[] doubles() {
            ByteBuffer source = bytes.duplicate().order(ByteOrder.LITTLE_ENDIAN);
            double[] values = new double[source.capacity() / (dtype.equals("F32") ? 4 : 2)];
            for (int i = 0; i < values.length; i++) {
                values[i] = switch (dtype) {
                    case "F32" -> source.getFloat();
                    case "BF16" -> Float.intBitsToFloat(source.getShort() << 16);
                    case "F16" -> half(source.getShort());
                    default -> throw new AssertionError(dtype);
                };
            }
            return values;
        }

        /** By the definition of IEEE 754's binary16; tests have no infinite weights. */
        private static double half(short bits) {
            int exponent = bits >> 10 & 31;
            int fraction = bits & 1023;
            double magnitude = exponent == 0 ? fraction * 0x1p-24 : Math.scalb(1024.0 + fraction, exponent - 25);
            return bits < 0 ? -magnitude : magnitude;
        }
    }

    static StoredModel read(Path file) {
        try {
            byte[] all = Files.readAllBytes(file);
            long length = ByteBuffer.wrap(all).order(ByteOrder.LITTLE_ENDIAN).getLong();
            int headerBytes = Math.toIntExact(length);
            String text = new String(all, 8, headerBytes, StandardCharsets.UTF_8);
            byte[] data = Arrays.copyOfRange(all, 8 + headerBytes, all.length);
            return new StoredModel(JsonParser.parseString(text).getAsJsonObject(), headerBytes, data);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    Tensor tensor(String name) {
        return Objects.requireNonNull(tensors().get(name), name);
    }

    /** By name, in the header's order. */
    Map<String, Tensor> tensors() {
        Map<String, Tensor> result = new LinkedHashMap<>();
        for (String name : header.keySet()) {
            if (!name.equals("__metadata__")) {
                JsonObject tensor = header.getAsJsonObject(name);
                JsonArray offsets = tensor.getAsJsonArray("data_offsets");
                byte[] bytes = Arrays.copyOfRange(
                        data, offsets.get(0).getAsInt(), offsets.get(1).getAsInt());
                String dtype = tensor.get("dtype").getAsString();
                result.put(name, new Tensor(dtype, tensor.get("shape").toString(), ByteBuffer.wrap(bytes)));
            }
        }
        return result;
    }

    /** Whether tensors cover the data from its first byte to its last without holes, in any order. */
    boolean isCoveredWithoutHoles() {
        long[][] ranges = header.keySet().stream()
                .filter(name -> !name.equals("__metadata__"))
                .map(name -> header.getAsJsonObject(name).getAsJsonArray("data_offsets"))
                .map(offsets ->
                        new long[] {offsets.get(0).getAsLong(), offsets.get(1).getAsLong()})
                .sorted((a, b) -> Long.compare(a[0], b[0]))
                .toArray(long[][]::new);
        long end = 0;
        for (long[] range : ranges) {
            if (range[0] != end) {
                return false;
            }
            end = range[1];
        }
        return end == data.length;
    }
}
