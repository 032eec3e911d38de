package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import dev.kv8.DType;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class SafetensorsFileTest {
    @TempDir
    Path folder;

    private static String tensor(String name, String dtype, String shape, String offsets) {
        return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets
                + "}";
    }

    @Test
    void readsWhatWasWrittenInEveryFloatType() {
        float[] values = {0, -0.0f, 1, -1.5f, 0x1p-3f, 0x1p-24f, 1 + 0x1p-10f};
        for (DType dtype : new DType[] {DType.FLOAT32, DType.FLOAT16}) {
            Path file = folder.resolve(dtype + ".safetensors");
            new SafetensorsWriter()
                    .tensor("first", dtype, new float[] {7}, 1)
                    .tensor("x", dtype, values, 7, 1)
                    .write(file);
            try (SafetensorsFile opened = SafetensorsFile.open(file)) {
                StoredTensor x = opened.tensors().get(1);
                assertThat(x.name()).isEqualTo("x");
                assertThat(x.hasShape(7, 1)).isTrue();
                assertThat(x.dtype()).isEqualTo(dtype);
                assertThat(x.toFloats()).containsExactly(values);
            }
        }
    }

    @Test
    void readsBfloat16AndIgnoresMetadata() {
        Path file = folder.resolve("b.safetensors");
        SafetensorsWriter.write(
                file,
                "{\"__metadata__\":{\"format\":\"pt\"}," + tensor("x", "BF16", "[2]", "[0,4]") + "}",
                new byte[] {(byte) 0x80, 0x3f, 0x20, (byte) 0xc0});
        try (SafetensorsFile opened = SafetensorsFile.open(file)) {
            assertThat(opened.tensors()).hasSize(1);
            assertThat(opened.tensors().get(0).toFloats()).containsExactly(1.0f, -2.5f);
        }
    }

    @Test
    void readsInfinitiesAndNanOfFloat16() {
        Path file = folder.resolve("h.safetensors");
        new SafetensorsWriter()
                .raw("x", "F16", new byte[] {0, 0x7c, 0, (byte) 0xfc, 1, 0x7c}, 3)
                .write(file);
        try (SafetensorsFile opened = SafetensorsFile.open(file)) {
            assertThat(opened.tensors().get(0).toFloats())
                    .containsExactly(Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY, Float.NaN);
        }
    }

    static Stream<Arguments> hostileHeaders() {
        return Stream.of(
                Arguments.of("{\"x\":", "not valid JSON"),
                Arguments.of("[1]", "not a JSON object"),
                Arguments.of("{} {}", "goes on after"),
                Arguments.of("{\"x\":3}", "x described by something that is not a JSON object"),
                Arguments.of("{\"x\":{}}", "x without a dtype, a shape and two data_offsets"),
                Arguments.of("{" + tensor("x", "F32", "[4]", "[0]") + "}", "two data_offsets"),
                Arguments.of("{" + tensor("x", "F32", "[4]", "[0,8,16]") + "}", "at most 2 whole numbers"),
                Arguments.of("{" + tensor("x", "F32", "[4]", "[0,1.5]") + "}", "whole numbers"),
                Arguments.of("{" + tensor("x", "F32", "4", "[0,16]") + "}", "\"shape\" that is not a list"),
                Arguments.of("{" + tensor("x", "F32", "[-4]", "[0,16]") + "}", "negative number in \"shape\""),
                Arguments.of("{" + tensor("x", "F32", "[4]", "[-16,0]") + "}", "negative number in \"data_offsets\""),
                Arguments.of("{" + tensor("x", "F32", "[4]", "[16,32]") + "}", "outside the file's 16 bytes"),
                Arguments.of("{" + tensor("x", "F32", "[4]", "[0,9223372036854775807]") + "}", "outside the file's"),
                Arguments.of("{" + tensor("x", "F32", "[4]", "[0,92233720368547758070]") + "}", "not valid JSON"),
                Arguments.of("{" + tensor("x", "F32", "[4]", "[16,0]") + "}", "outside"),
                Arguments.of("{" + tensor("x", "F32", "[3]", "[0,16]") + "}", "needs 12 bytes, in 16 bytes"),
                Arguments.of("{" + tensor("x", "F32", "[4294967296,4294967296]", "[0,16]") + "}", "overflows 64 bits"),
                Arguments.of(
                        "{" + tensor("x", "F32", "[2]", "[0,8]") + "," + tensor("y", "F32", "[2]", "[4,12]") + "}",
                        "overlapping tensors x and y"),
                Arguments.of(
                        "{" + tensor("x", "F32", "[2]", "[0,8]") + "," + tensor("x", "F32", "[2]", "[8,16]") + "}",
                        "Duplicate"),
                Arguments.of("{" + tensor("x", "F4", "[4]", "[0,16]") + "}", "unknown dtype \"F4\" (known are F32"));
    }

    @ParameterizedTest
    @MethodSource("hostileHeaders")
    void refusesAHostileHeaderByName(String header, String message) {
        Path file = folder.resolve("hostile.safetensors");
        SafetensorsWriter.write(file, header, new byte[16]);
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> SafetensorsFile.open(file))
                .withMessageContaining("hostile.safetensors")
                .withMessageContaining(message);
    }

    @Test
    void refusesAFileThatIsTooShortForItsHeaderLength() throws IOException {
        Path file = Files.write(folder.resolve("short"), new byte[7]);
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> SafetensorsFile.open(file))
                .withMessageContaining("has 7 bytes");
    }

    @ParameterizedTest
    @org.junit.jupiter.params.provider.ValueSource(longs = {0, 1, 3, 100_000_001, Long.MAX_VALUE, -1})
    void refusesAHeaderLengthThatCannotBe(long length) {
        Path file = folder.resolve("length");
        SafetensorsWriter.write(file, length, "{}".getBytes(StandardCharsets.UTF_8), new byte[0]);
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> SafetensorsFile.open(file))
                .withMessageContaining("its header has " + Long.toUnsignedString(length) + " bytes");
    }

    @Test
    void refusesToReadATypeThatIsNoFloat() {
        Path file = folder.resolve("ints");
        new SafetensorsWriter().raw("ids", "I64", new byte[8], 1).write(file);
        try (SafetensorsFile opened = SafetensorsFile.open(file)) {
            assertThatExceptionOfType(CheckpointException.class)
                    .isThrownBy(() -> opened.tensors().get(0).toFloats())
                    .withMessageContaining("ids is I64; the engine reads F32, F16 and BF16");
        }
    }

    @Test
    void namesAMissingFile() {
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> SafetensorsFile.open(folder.resolve("none")))
                .withMessageContaining("none is missing");
    }
}
