package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

class KvCacheDTypeTest {

    @ParameterizedTest
    @CsvSource({
        "auto, FLOAT16",
        "fp8, E4M3FN",
        "fp8_e4m3, E4M3FN",
        "fp8_e5m2, E5M2",
        "bfloat16, BFLOAT16",
        "float16, FLOAT16",
        "float32, FLOAT32"
    })
    void namesMeanWhatTheyDoInVllm(String name, DType stored) {
        KvCacheDType dtype = KvCacheDType.parse(name);
        assertThat(dtype.label()).isEqualTo(name);
        assertThat(dtype.resolve(DType.FLOAT16)).isEqualTo(stored);
        assertThat(dtype.isFp8()).isEqualTo(stored.isFp8());
    }

    @ParameterizedTest
    @EnumSource
    void labelsParseInAnyCase(KvCacheDType dtype) {
        assertThat(KvCacheDType.parse(" " + dtype.name() + " ")).isEqualTo(dtype);
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "fp4", "fp8_e4m3fn", "int8", "fp8 e4m3"})
    void anUnknownNameIsRefusedWithTheAllowedOnes(String name) {
        assertThatThrownBy(() -> KvCacheDType.parse(name))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage(
                        "\"" + name + "\" is not a KV cache dtype; the allowed ones are auto, fp8, fp8_e4m3, fp8_e5m2,"
                                + " bfloat16, float16, float32.");
    }

    @Test
    void autoIsTheModelsOwnType() {
        assertThat(KvCacheDType.AUTO.resolve(DType.FLOAT32)).isEqualTo(DType.FLOAT32);
        assertThat(KvCacheDType.AUTO.resolve(DType.BFLOAT16)).isEqualTo(DType.BFLOAT16);
    }
}
