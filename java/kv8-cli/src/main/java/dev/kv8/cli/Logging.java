package dev.kv8.cli;

/** One line per log record, on standard error, so that results on standard output stay clean. */
final class Logging {
    private static final String FORMAT = "java.util.logging.SimpleFormatter.format";

    private Logging() {}

    /** Must run before the first logger is made; what the user has set stays. */
    static void toStandardError() {
        if (System.getProperty(FORMAT) == null && System.getProperty("java.util.logging.config.file") == null) {
            System.setProperty(FORMAT, "kv8: %4$s: %5$s%6$s%n");
        }
    }
}
