package dev.kv8.tests;

import static dev.kv8.tests.Command.kv8;
import static org.assertj.core.api.Assertions.assertThat;

import dev.kv8.Fp8Format;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

class CastCommandTest {
    private static final long SEED = 20261124;

    @TempDir
    Path folder;

    @ParameterizedTest
    @EnumSource(Fp8Format.class)
    void floats_become_the_codes_that_fp8_format_gives(Fp8Format format) throws IOException {
        float scale = 0.037f;
        float[] values = awkwardFloats();
        byte[] codes = cast("f32", label(format), scale, bytes(values));
        assertThat(codes).hasSize(values.length);
        for (int i = 0; i < values.length; i++) {
            assertThat(codes[i])
                    .as("%s / %s as %s, seed %d", values[i], scale, format, SEED)
                    .isEqualTo(format.encode(values[i] / scale));
        }
    }

    @ParameterizedTest
    @EnumSource(Fp8Format.class)
    void codes_become_the_floats_that_fp8_format_gives(Fp8Format format) throws IOException {
        float scale = 1.75f;
        byte[] codes = new byte[256];
        for (int i = 0; i < codes.length; i++) {
            codes[i] = (byte) i;
        }
        ByteBuffer floats =
                ByteBuffer.wrap(cast(label(format), "f32", scale, codes)).order(ByteOrder.LITTLE_ENDIAN);
        for (byte code : codes) {
            float expected = format.decode(code) * scale;
            assertThat(Float.floatToIntBits(floats.getFloat()))
                    .as("%s code %d", format, code & 0xFF)
                    .isEqualTo(Float.floatToIntBits(expected));
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"f16", "bf16"})
    void every_code_survives_a_trip_through_a_16_bit_type(String wide) throws IOException {
        for (Fp8Format format : Fp8Format.values()) {
            byte[] codes = finiteCodes(format);
            byte[] back = cast(wide, label(format), 1, cast(label(format), wide, 1, codes));
            assertThat(back).as("%s through %s", format, wide).isEqualTo(codes);
        }
    }

    @Test
    void a_file_larger_than_one_piece_is_cast_whole() throws IOException {
        int elements = (4 << 20) + 5;
        ByteBuffer floats = ByteBuffer.allocate(elements * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
        for (int i = 0; i < elements; i++) {
            floats.putFloat(i % 449 - 224);
        }
        byte[] codes = cast("f32", "e4m3fn", 1, floats.array());
        assertThat(codes).hasSize(elements);
        for (int i = 0; i < elements; i++) {
            byte expected = Fp8Format.E4M3FN.encode(i % 449 - 224);
            if (codes[i] != expected) {
                assertThat(codes[i]).as("element %d", i).isEqualTo(expected);
            }
        }
    }

    @Test
    void json_says_what_was_done() throws IOException {
        Path in = Files.write(folder.resolve("in"), new byte[12]);
        Json json = kv8("cast", "--from", "f32", "--to", "e5m2", "--json", in, folder.resolve("out"))
                .succeeds()
                .json();
        assertThat(json.get("elements").number()).isEqualTo(3);
        assertThat(json.get("backend").text()).isEqualTo("cpu");
        assertThat(json.get("isa").text()).isNotEmpty();
    }

    @Test
    void an_empty_file_gives_an_empty_file() throws IOException {
        assertThat(cast("f32", "e4m3fn", 1, new byte[0])).isEmpty();
    }

    @Test
    void what_can_not_be_cast_is_refused_and_leaves_no_file() throws IOException {
        Path odd = Files.write(folder.resolve("odd"), new byte[7]);
        Path out = folder.resolve("out");
        kv8("cast", "--from", "f16", "--to", "e4m3fn", odd, out).fails("7 bytes", "2 bytes of a float16");
        kv8("cast", "--from", "f32", "--to", "e4m3fn", folder.resolve("none"), out)
                .fails("none");
        kv8("cast", "--from", "f32", "--to", "e4m3fn", folder, out).fails("not a file");
        kv8("cast", "--from", "f64", "--to", "e4m3fn", odd, out).isWrongUsage("f64", "bf16");
        for (String scale : List.of("0", "-1", "NaN", "1e-45", "Infinity")) {
            kv8("cast", "--from", "f16", "--to", "e4m3fn", "--scale", scale, odd, out)
                    .isWrongUsage("--scale");
        }
        kv8("cast", "--from", "f32", "--to", "f16", "--scale", "2", odd, out).isWrongUsage("--scale");
        assertThat(folder.toFile().list()).containsExactly("odd");
    }

    private byte[] cast(String from, String to, float scale, byte[] input) throws IOException {
        Path in = Files.write(folder.resolve("in." + from), input);
        Path out = folder.resolve("out." + to);
        kv8("cast", "--from", from, "--to", to, "--scale", scale, in, out).succeeds();
        return Files.readAllBytes(out);
    }

    private static String label(Fp8Format format) {
        return format.dtype().label();
    }

    private static byte[] bytes(float[] values) {
        ByteBuffer buffer = ByteBuffer.allocate(values.length * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
        buffer.asFloatBuffer().put(values);
        return buffer.array();
    }

    /** Any bit pattern, with the special ones first. */
    private static float[] awkwardFloats() {
        float[] special = {
            0,
            -0f,
            Float.NaN,
            Float.POSITIVE_INFINITY,
            Float.NEGATIVE_INFINITY,
            Float.MIN_VALUE,
            Float.MAX_VALUE,
            448,
            465
        };
        float[] values = new float[10_007];
        Random random = new Random(SEED);
        for (int i = 0; i < values.length; i++) {
            float ordinary = (float) random.nextGaussian() * (1 << random.nextInt(12)) / 64;
            values[i] = i % 2 == 0 ? ordinary : Float.intBitsToFloat(random.nextInt());
        }
        System.arraycopy(special, 0, values, 0, special.length);
        return values;
    }

    private static byte[] finiteCodes(Fp8Format format) {
        byte[] codes = new byte[256];
        int count = 0;
        for (int code = 0; code < 256; code++) {
            if (Float.isFinite(format.decode((byte) code))) {
                codes[count++] = (byte) code;
            }
        }
        return Arrays.copyOf(codes, count);
    }
}
