package dev.kv8.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.List;
import org.junit.jupiter.api.Test;

class TextColumnsTest {
    @Test
    void texts_wrap_at_words_beside_each_other() {
        assertThat(columns(24, "one two three four", "five")).isEqualTo("""
                one two       five
                three four
                """);
    }

    @Test
    void a_line_break_stays_and_an_empty_line_too() {
        assertThat(columns(24, "a\n\nb", "c\nd")).isEqualTo("""
                a             c
                              d
                b
                """);
    }

    @Test
    void a_word_longer_than_its_column_is_cut() {
        assertThat(columns(24, "abcdefghijklmnop qr", "")).isEqualTo("""
                abcdefghij
                klmnop qr
                """);
    }

    private static String columns(int width, String... texts) {
        StringWriter text = new StringWriter();
        TextColumns.print(new PrintWriter(text), width, List.of(texts));
        return text.toString();
    }
}
