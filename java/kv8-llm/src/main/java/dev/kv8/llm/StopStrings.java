package dev.kv8.llm;

import java.util.ArrayList;
import java.util.List;

/**
 * Looks for the strings that end a text while it grows. Each character is looked at once for each string, whatever they are (Knuth,
 * Morris and Pratt), since strangers choose both.
 */
final class StopStrings {
    private final List<Pattern> patterns;
    /** By pattern, how many of its first characters the text ends with. */
    private final int[] matched;
    /** Characters of the text that were looked at. */
    private int seen;

    private int end = -1;

    /** For one text; patterns may be shared. */
    StopStrings(List<Pattern> patterns) {
        this.patterns = patterns;
        matched = new int[patterns.size()];
    }

    /** A string to look for. */
    static final class Pattern {
        private final String text;
        /** By length of a beginning of the text, the longest shorter one that it ends with. */
        private final int[] shorter;

        private Pattern(String text) {
            this.text = text;
            shorter = new int[text.length() + 1];
            for (int length = 1; length < text.length(); length++) {
                shorter[length + 1] = next(shorter[length], text.charAt(length));
            }
        }

        static List<Pattern> all(List<String> texts) {
            List<Pattern> result = new ArrayList<>(texts.size());
            for (String text : texts) {
                result.add(new Pattern(text));
            }
            return result;
        }

        /** How much of the string has come with one more character, when {@code length} had before; less than all of it. */
        private int next(int length, char c) {
            int known = length;
            while (known > 0 && text.charAt(known) != c) {
                known = shorter[known];
            }
            return text.charAt(known) == c ? known + 1 : 0;
        }
    }

    /** Where the first stop string begins in a text that has only grown since the last call; -1 when there is none. */
    int endsAt(CharSequence text) {
        if (end < 0) {
            for (int i = 0; i < matched.length; i++) {
                int at = find(i, text);
                if (at >= 0 && (end < 0 || at < end)) {
                    end = at;
                }
            }
            seen = text.length();
        }
        return end;
    }

    private int find(int i, CharSequence text) {
        Pattern pattern = patterns.get(i);
        for (int at = seen; at < text.length(); at++) {
            matched[i] = pattern.next(matched[i], text.charAt(at));
            if (matched[i] == pattern.text.length()) {
                return at + 1 - pattern.text.length();
            }
        }
        return -1;
    }

    /** What {@link #endsAt} found. */
    int end() {
        return end;
    }

    /** How much of the text that {@link #endsAt} saw last, and found nothing in, can't become part of a stop string any more. */
    int safeEnd() {
        int longest = 0;
        for (int length : matched) {
            longest = Math.max(longest, length);
        }
        return seen - longest;
    }
}
