package dev.kv8.tests;

import static dev.kv8.tests.Command.kv8;
import static dev.kv8.tests.Command.kv8InNewJvm;
import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.DoubleBuffer;
import java.nio.FloatBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;

class AttendCommandTest {
    private static final Path GOLDENS = Path.of("goldens");
    private static final double TOLERANCE = 1e-5;

    @TempDir
    Path folder;

    static List<Path> cases() throws IOException {
        try (Stream<Path> folders = Files.list(GOLDENS)) {
            List<Path> found = folders.filter(Files::isDirectory).sorted().toList();
            assertThat(found).hasSizeGreaterThanOrEqualTo(2);
            return found;
        }
    }

    @ParameterizedTest
    @MethodSource("cases")
    void a_case_is_within_the_tolerance_of_float64(Path golden) throws IOException {
        kv8("attend", golden, folder).succeeds();
        assertIsGolden(golden);
    }

    @ParameterizedTest
    @ValueSource(strings = {"sm_90", "gfx942"})
    void the_gpu_kernels_are_within_the_tolerance_too(String arch) throws Exception {
        for (Path golden : cases()) {
            List<String> emulator = Emulator.options(arch);
            Json json = kv8InNewJvm(emulator, "attend", golden, folder, "--json")
                    .succeeds()
                    .json();
            assertThat(json.get("backend").text()).isEqualTo("emulator");
            assertThat(json.get("isa").text()).isEqualTo(arch);
            assertIsGolden(golden);
        }
    }

    @Test
    void a_case_may_be_described_by_its_json_alone() throws IOException {
        Path golden = cases().get(0);
        Path copy = copyOf(golden);
        Files.delete(copy.resolve("case.properties"));
        kv8("attend", copy, folder).succeeds();
        assertIsGolden(golden);
    }

    @Test
    void window_softcap_sinks_alibi_and_scales_by_head_reach_the_kernel() throws IOException {
        Path golden = GOLDENS.resolve("09_d128_multitoken_2to8");
        ByteBuffer plain = result(golden, "out.f32");
        ByteBuffer plainLse = result(golden, "lse.f32");

        // A window longer than any sequence, sinks of weight 0, flat ALiBi and one scale said four times change
        // nothing.
        Path same = copyOf(golden);
        set(same, "sliding_window", "1000");
        set(same, "has_sinks", "1");
        set(same, "has_alibi", "1");
        set(same, "num_scales", "4");
        writeFloats(same.resolve("sinks.f32"), Float.NEGATIVE_INFINITY, 8);
        writeFloats(same.resolve("alibi_slopes.f32"), 0, 8);
        writeFloats(same.resolve("k_scale.f32"), floats(golden, "k_scale.f32").get(0), 4);
        writeFloats(same.resolve("v_scale.f32"), floats(golden, "v_scale.f32").get(0), 4);
        kv8("attend", same, folder).succeeds();
        assertClose(floats(folder, "out.f32"), plain.asFloatBuffer());
        assertClose(floats(folder, "lse.f32"), plainLse.asFloatBuffer());

        for (String change : List.of("sliding_window=1", "softcap=0.5", "has_sinks=1", "has_alibi=1")) {
            Path changed = copyOf(golden);
            set(changed, change.substring(0, change.indexOf('=')), change.substring(change.indexOf('=') + 1));
            writeFloats(changed.resolve("sinks.f32"), 1, 8);
            writeFloats(changed.resolve("alibi_slopes.f32"), 0.25f, 8);
            assertThat(result(changed, "lse.f32")).as(change).isNotEqualTo(plainLse);
        }
    }

    @Test
    void json_says_what_was_done() throws IOException {
        Json json = kv8("attend", cases().get(0), folder.resolve("new/folder"), "--json")
                .succeeds()
                .json();
        assertThat(json.get("case").text()).startsWith("01");
        assertThat(json.get("queries").number()).isEqualTo(11);
        assertThat(folder.resolve("new/folder")).isDirectoryContaining("glob:**/lse.f32");
    }

    @Test
    void a_broken_case_is_refused_by_what_is_wrong() throws IOException {
        Path golden = cases().get(0);
        kv8("attend", folder.resolve("none"), folder).fails("none", "not a folder");
        kv8("attend", folder, folder).fails("neither case.properties nor case.json");

        Path cutOff = copyOf(golden);
        Files.delete(cutOff.resolve("case.properties"));
        Files.writeString(cutOff.resolve("case.json"), "{\"name\": ");
        kv8("attend", cutOff, folder).fails("case.json is not valid JSON", "line 1");

        Path shortCache = copyOf(golden);
        Files.write(shortCache.resolve("k_cache.u8"), new byte[100]);
        kv8("attend", shortCache, folder).fails("k_cache.u8 has 100 bytes", "229376");

        Path noQueries = copyOf(golden);
        Files.delete(noQueries.resolve("q.f32"));
        kv8("attend", noQueries, folder).fails("no file", "q.f32");

        assertRefused(golden, "dtype", "int8", "dtype is 'int8'", "fp8_e5m2");
        assertRefused(golden, "num_kv_heads", "0", "num_kv_heads is '0'");
        assertRefused(golden, "num_kv_heads", "3", "num_q_heads", "multiple");
        assertRefused(golden, "softcap", "soft", "softcap is 'soft'");
        assertRefused(golden, "num_scales", "5", "num_scales is '5'");
        assertRefused(golden, "causal", "0", "causal is '0'");
        assertRefused(golden, "sliding_window", "-1", "sliding_window is '-1'");
        assertRefused(golden, "total_q", "12", "q.f32 has");

        Path longSequence = copyOf(golden);
        ByteBuffer lengths = ByteBuffer.wrap(Files.readAllBytes(longSequence.resolve("seq_lens.i32")));
        lengths.order(ByteOrder.LITTLE_ENDIAN).putInt(4, 1_000_000);
        Files.write(longSequence.resolve("seq_lens.i32"), lengths.array());
        kv8("attend", longSequence, folder).fails("1000000 keys for sequence 1");

        Path badBlock = copyOf(golden);
        byte[] hugeIds = Files.readAllBytes(badBlock.resolve("block_table.i32"));
        Arrays.fill(hugeIds, (byte) 0x7F);
        Files.write(badBlock.resolve("block_table.i32"), hugeIds);
        kv8("attend", badBlock, folder).fails("block");
    }

    private void assertRefused(Path golden, String name, String value, String... words) throws IOException {
        Path copy = copyOf(golden);
        set(copy, name, value);
        kv8("attend", copy, folder).fails(words);
    }

    private void assertIsGolden(Path golden) throws IOException {
        FloatBuffer out = floats(folder, "out.f32");
        DoubleBuffer expected = doubles(golden, "out.f64");
        FloatBuffer magnitude = floats(golden, "outabs.f32");
        assertThat(out.remaining()).isEqualTo(expected.remaining());
        for (int i = 0; i < out.remaining(); i++) {
            double error = Math.abs(out.get(i) - expected.get(i));
            assertThat(error)
                    .as("%s, out element %d is %s, not %s", golden, i, out.get(i), expected.get(i))
                    .isLessThanOrEqualTo(TOLERANCE * magnitude.get(i));
        }
        FloatBuffer lse = floats(folder, "lse.f32");
        DoubleBuffer expectedLse = doubles(golden, "lse.f64");
        assertThat(lse.remaining()).isEqualTo(expectedLse.remaining());
        for (int i = 0; i < lse.remaining(); i++) {
            boolean close = lse.get(i) == expectedLse.get(i) // both infinite
                    || Math.abs(lse.get(i) - expectedLse.get(i)) <= TOLERANCE;
            assertThat(close)
                    .as("%s, lse element %d is %s, not %s", golden, i, lse.get(i), expectedLse.get(i))
                    .isTrue();
        }
    }

    private static void assertClose(FloatBuffer actual, FloatBuffer expected) {
        assertThat(actual.remaining()).isEqualTo(expected.remaining());
        for (int i = 0; i < actual.remaining(); i++) {
            assertThat(Math.abs(actual.get(i) - expected.get(i)))
                    .as("element %d", i)
                    .isLessThan(1e-4f);
        }
    }

    private ByteBuffer result(Path attentionCase, String file) throws IOException {
        kv8("attend", attentionCase, folder).succeeds();
        return littleEndian(folder.resolve(file));
    }

    private Path copyOf(Path golden) throws IOException {
        Path copy = Files.createTempDirectory(folder, "case");
        try (Stream<Path> files = Files.list(golden)) {
            files.forEach(file -> {
                try {
                    Files.write(copy.resolve(file.getFileName()), Files.readAllBytes(file));
                } catch (IOException e) {
                    throw new UncheckedIOException(e);
                }
            });
        }
        return copy;
    }

    private static void set(Path attentionCase, String name, String value) throws IOException {
        Path file = attentionCase.resolve("case.properties");
        String text = Files.readString(file, UTF_8);
        assertThat(text).contains("\n" + name + "=");
        Files.writeString(file, text.replaceFirst("(?m)^" + name + "=.*$", name + "=" + value), UTF_8);
    }

    private static void writeFloats(Path file, float value, int count) throws IOException {
        ByteBuffer buffer = ByteBuffer.allocate(count * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
        while (buffer.hasRemaining()) {
            buffer.putFloat(value);
        }
        Files.write(file, buffer.array());
    }

    private static FloatBuffer floats(Path folder, String file) throws IOException {
        return littleEndian(folder.resolve(file)).asFloatBuffer();
    }

    private static DoubleBuffer doubles(Path folder, String file) throws IOException {
        return littleEndian(folder.resolve(file)).asDoubleBuffer();
    }

    private static ByteBuffer littleEndian(Path file) throws IOException {
        return ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN);
    }
}
