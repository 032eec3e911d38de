package dev.kv8.cli;

import java.util.Locale;

/** Numbers as people read them. */
final class Numbers {
    private Numbers() {}

    /** Whole where it is, else with two decimals. */
    static String plain(double value) {
        return value == Math.rint(value)
                ? String.format(Locale.ROOT, "%.0f", value)
                : String.format(Locale.ROOT, "%.2f", value);
    }

    static String mebibytes(long bytes) {
        return plain(Math.rint(bytes * 100.0 / (1 << 20)) / 100);
    }

    static String fixed(double value, int decimals) {
        return String.format(Locale.ROOT, "%." + decimals + "f", value);
    }

    /** As {@link #fixed}, or a dash where there is no number (NaN). */
    static String fixedOrDash(double value, int decimals) {
        return Double.isNaN(value) ? "-" : fixed(value, decimals);
    }
}
