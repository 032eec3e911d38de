package dev.kv8.llm;

import java.util.List;

/** Looks for the strings that end a text while it grows. */
final class StopStrings {
    private final List<String> stops;
    /** Characters of the text that were looked at. */
    private int seen;

    private int end = -1;

    StopStrings(List<String> stops) {
        this.stops = stops;
    }

    /** Where the first stop string begins in a text that has only grown since the last call; -1 when there is none. */
    int endsAt(CharSequence text) {
        if (end < 0) {
            for (String stop : stops) {
                int at = indexOf(text, stop, Math.max(0, seen - stop.length() + 1));
                if (at >= 0 && (end < 0 || at < end)) {
                    end = at;
                }
            }
            seen = text.length();
        }
        return end;
    }

    /** What {@link #endsAt} found. */
    int end() {
        return end;
    }

    /** How much of the text can't become part of a stop string any more. */
    int safeEnd(CharSequence text) {
        int safe = text.length();
        for (String stop : stops) {
            for (int at = Math.max(0, text.length() - stop.length() + 1); at < safe; at++) {
                if (startsWith(stop, text, at)) {
                    safe = at;
                }
            }
        }
        return safe;
    }

    private static int indexOf(CharSequence text, String part, int from) {
        for (int at = from; at <= text.length() - part.length(); at++) {
            if (matches(text, at, part, part.length())) {
                return at;
            }
        }
        return -1;
    }

    /** Whether all of the text from {@code at} on is the beginning of {@code stop}. */
    private static boolean startsWith(String stop, CharSequence text, int at) {
        return matches(text, at, stop, text.length() - at);
    }

    private static boolean matches(CharSequence text, int at, String part, int count) {
        for (int i = 0; i < count; i++) {
            if (text.charAt(at + i) != part.charAt(i)) {
                return false;
            }
        }
        return true;
    }
}
