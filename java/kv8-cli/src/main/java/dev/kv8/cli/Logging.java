package dev.kv8.cli;

import java.util.logging.Level;
import java.util.logging.Logger;

/** One line per log record, on standard error, so that results on standard output stay clean. */
final class Logging {
    private static final String FORMAT = "java.util.logging.SimpleFormatter.format";
    /** Kept, because a logger that nobody holds forgets its level. */
    private static final Logger TOKENIZERS = Logger.getLogger("ai.djl");

    private Logging() {}

    /** Must run before any record is logged; what the user has configured stays. */
    static void toStandardError() {
        if (System.getProperty("java.util.logging.config.file") != null) {
            return;
        }
        if (System.getProperty(FORMAT) == null) {
            System.setProperty(FORMAT, "%4$s: %5$s%6$s%n");
        }
        // The tokenizer library warns where it finds no GPU, which it doesn't need.
        TOKENIZERS.setLevel(Level.SEVERE);
    }
}
