package dev.kv8;

import java.io.IOException;
import java.nio.file.Path;

/**
 * A file of a saved sequence that can't be restored: damaged, or of another model or cache. The message names the file and says
 * what differs.
 */
public final class SequenceFileException extends IOException {
    private static final long serialVersionUID = 1L;

    SequenceFileException(Path file, String fault) {
        super(file + ": " + fault);
    }
}
