package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class ByteSizeTest {

    @ParameterizedTest
    @CsvSource({
        "0, 0",
        "123456, 123456",
        "17B, 17",
        "3KiB, 3072",
        "64MiB, 67108864",
        "8 GiB, 8589934592",
        " 2tib , 2199023255552",
        "9223372036854775807, 9223372036854775807"
    })
    void sizesAreRead(String text, long bytes) {
        assertThat(ByteSize.parse(text)).isEqualTo(ByteSize.of(bytes));
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "MiB", "1.5GiB", "-1", "64MB", "64 MiB extra", "0x10"})
    void anythingElseIsRefusedWithTheAllowedForm(String text) {
        assertThatThrownBy(() -> ByteSize.parse(text))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("\"" + text + "\" is not a size")
                .hasMessageContaining("64MiB");
    }

    @ParameterizedTest
    @ValueSource(strings = {"9223372036854775808", "9007199254740992KiB", "8388608TiB"})
    void sizesBeyondALongAreRefused(String text) {
        assertThatThrownBy(() -> ByteSize.parse(text))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining(text + " is too large");
    }

    @ParameterizedTest
    @CsvSource({"0, 0 B", "1023, 1023 B", "1024, 1 KiB", "1536, 1.5 KiB", "67108864, 64 MiB", "8589934592, 8 GiB"})
    void sizesAreShownWithTheirUnit(long bytes, String text) {
        assertThat(ByteSize.of(bytes)).hasToString(text);
    }

    @Test
    void sizesAreMadeFromUnitsAndCompared() {
        assertThat(ByteSize.gib(8)).isEqualTo(ByteSize.mib(8192)).isGreaterThan(ByteSize.mib(8191));
        assertThatThrownBy(() -> ByteSize.of(-1))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("-1");
        assertThatThrownBy(() -> ByteSize.gib(Long.MAX_VALUE / 2))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("too large");
    }
}
