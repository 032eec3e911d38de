package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

class StopStringsTest {
    @Test
    void findsTheFirstOfSeveral() {
        StopStrings stops = new StopStrings(List.of("the earth", "heaven"));
        assertThat(stops.endsAt("In the beginning")).isEqualTo(-1);
        assertThat(stops.endsAt("In the beginning God created the heaven and the earth"))
                .isEqualTo(33);
        assertThat(stops.end()).isEqualTo(33);
    }

    @Test
    void holdsBackWhatMayBecomeAStopString() {
        StopStrings stops = new StopStrings(List.of("</end>", "\n\n"));
        assertThat(stops.safeEnd("text")).isEqualTo(4);
        assertThat(stops.safeEnd("text</e")).isEqualTo(4);
        assertThat(stops.safeEnd("text</ex")).isEqualTo(8);
        assertThat(stops.safeEnd("text<\n")).isEqualTo(5);
        assertThat(stops.safeEnd("a <<")).isEqualTo(3);
    }

    /** Random texts over two letters in random pieces, against a search in the whole text. */
    @Test
    void whatIsPassedOnPieceByPieceIsTheTextBeforeTheFirstStop() {
        long seed = Long.getLong("kv8.seed", 20261126);
        SplittableRandom random = new SplittableRandom(seed);
        for (int round = 0; round < 2000; round++) {
            String whole = letters(random, 30);
            List<String> stops =
                    List.of(letters(random, 1 + random.nextInt(4)), letters(random, 2 + random.nextInt(4)));
            StopStrings found = new StopStrings(stops);
            StringBuilder text = new StringBuilder();
            int passedOn = 0;
            while (text.length() < whole.length() && found.end() < 0) {
                int next = Math.min(whole.length(), text.length() + 1 + random.nextInt(4));
                text.append(whole, text.length(), next);
                if (found.endsAt(text) < 0) {
                    passedOn = Math.max(passedOn, found.safeEnd(text));
                }
            }
            String name = "seed " + seed + ", round " + round + ": " + whole + " " + stops;
            int first = stops.stream()
                    .mapToInt(text::indexOf)
                    .filter(at -> at >= 0)
                    .min()
                    .orElse(-1);
            assertThat(found.end()).as(name).isEqualTo(first);
            assertThat(passedOn).as(name).isLessThanOrEqualTo(first < 0 ? text.length() : first);
        }
    }

    private static String letters(SplittableRandom random, int count) {
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < count; i++) {
            text.append(random.nextBoolean() ? 'a' : 'b');
        }
        return text.toString();
    }
}
