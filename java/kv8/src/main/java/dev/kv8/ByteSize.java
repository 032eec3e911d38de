package dev.kv8;

import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A number of bytes, read and shown with binary units (1 MiB = 2^20 bytes).
 *
 * @param bytes at least 0
 */
public record ByteSize(long bytes) implements Comparable<ByteSize> {
    private static final String[] UNITS = {"B", "KiB", "MiB", "GiB", "TiB"};
    private static final Pattern FORM = Pattern.compile("(\\d{1,19})\\s*([a-z]*)", Pattern.CASE_INSENSITIVE);

    public ByteSize {
        if (bytes < 0) {
            throw new IllegalArgumentException("A size is 0 bytes or more, not " + bytes + ".");
        }
    }

    /** So many bytes. */
    public static ByteSize of(long bytes) {
        return new ByteSize(bytes);
    }

    /** So many times 2^20 bytes. */
    public static ByteSize mib(long mebibytes) {
        return scaled(mebibytes, 2, mebibytes + " MiB");
    }

    /** So many times 2^30 bytes. */
    public static ByteSize gib(long gibibytes) {
        return scaled(gibibytes, 3, gibibytes + " GiB");
    }

    /**
     * Reads a whole number of bytes, or of a unit: {@code 123456}, {@code 64MiB}, {@code 8 GiB}.
     *
     * @throws IllegalArgumentException naming the allowed units
     */
    public static ByteSize parse(String text) {
        Matcher form = FORM.matcher(text.strip());
        if (form.matches()) {
            String unit = form.group(2).isEmpty() ? UNITS[0] : form.group(2);
            for (int power = 0; power < UNITS.length; power++) {
                if (UNITS[power].equalsIgnoreCase(unit)) {
                    return scaled(parseCount(form.group(1), text), power, text);
                }
            }
        }
        throw new IllegalArgumentException("\"" + text
                + "\" is not a size; give a whole number of bytes or of KiB, MiB, GiB or TiB, for instance 64MiB.");
    }

    private static long parseCount(String digits, String text) {
        try {
            return Long.parseLong(digits);
        } catch (NumberFormatException e) {
            throw tooLarge(text);
        }
    }

    private static ByteSize scaled(long count, int power, String text) {
        long unit = 1L << (10 * power);
        if (count > Long.MAX_VALUE / unit) {
            throw tooLarge(text);
        }
        return new ByteSize(count * unit);
    }

    private static IllegalArgumentException tooLarge(String text) {
        return new IllegalArgumentException(
                "A size of " + text + " is too large; the largest is " + Long.MAX_VALUE + " bytes.");
    }

    @Override
    public int compareTo(ByteSize other) {
        return Long.compare(bytes, other.bytes);
    }

    /** With the largest unit that is not above the size, one decimal where it is not whole: {@code 64 MiB}, {@code 1.5 GiB}. */
    @Override
    public String toString() {
        int power = 0;
        while (power + 1 < UNITS.length && bytes >> (10 * (power + 1)) > 0) {
            power++;
        }
        long unit = 1L << (10 * power);
        String count = bytes % unit == 0
                ? Long.toString(bytes / unit)
                : String.format(Locale.ROOT, "%.1f", (double) bytes / unit);
        return count + " " + UNITS[power];
    }
}
