package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

class StopStringsTest {
    @Test
    void findsTheFirstOfSeveral() {
        StopStrings stops = of("the earth", "heaven");
        assertThat(stops.endsAt("In the beginning")).isEqualTo(-1);
        assertThat(stops.endsAt("In the beginning God created the heaven and the earth"))
                .isEqualTo(33);
        assertThat(stops.end()).isEqualTo(33);
    }

    @Test
    void holdsBackWhatMayBecomeAStopString() {
        assertThat(safeEnd("text")).isEqualTo(4);
        assertThat(safeEnd("text</e")).isEqualTo(4);
        assertThat(safeEnd("text</ex")).isEqualTo(8);
        assertThat(safeEnd("text<\n")).isEqualTo(5);
        assertThat(safeEnd("a <<")).isEqualTo(3);
    }

    private static int safeEnd(String text) {
        StopStrings stops = of("</end>", "\n\n");
        assertThat(stops.endsAt(text)).isEqualTo(-1);
        return stops.safeEnd();
    }

    private static StopStrings of(String... stops) {
        return new StopStrings(StopStrings.Pattern.all(List.of(stops)));
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
            StopStrings found = new StopStrings(StopStrings.Pattern.all(stops));
            StringBuilder text = new StringBuilder();
            int passedOn = 0;
            while (text.length() < whole.length() && found.end() < 0) {
                int next = Math.min(whole.length(), text.length() + 1 + random.nextInt(4));
                text.append(whole, text.length(), next);
                if (found.endsAt(text) < 0) {
                    passedOn = Math.max(passedOn, found.safeEnd());
                }
            }
            String name = "seed " + seed + ", round " + round + ": " + whole + " " + stops;
            int first = stops.stream()
                    .mapToInt(text::indexOf)
                    .filter(at -> at >= 0)
                    .min()
                    .orElse(-1);
            assertThat(found.end()).as(name).isEqualTo(first);
            if (first < 0) {
                assertThat(passedOn).as(name).isEqualTo(text.length() - longestBegun(text, stops));
            }
            assertThat(passedOn).as(name).isLessThanOrEqualTo(first < 0 ? text.length() : first);
        }
    }

    /** The most that the text ends with of what may become a stop. */
    private static int longestBegun(CharSequence text, List<String> stops) {
        int longest = 0;
        for (String stop : stops) {
            for (int length = 1; length < stop.length(); length++) {
                if (text.toString().endsWith(stop.substring(0, length))) {
                    longest = Math.max(longest, length);
                }
            }
        }
        return longest;
    }

    private static String letters(SplittableRandom random, int count) {
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < count; i++) {
            text.append(random.nextBoolean() ? 'a' : 'b');
        }
        return text.toString();
    }
}
