package dev.kv8.cli;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;

/** A file that appears whole or not at all: a failure or Ctrl-C leaves what was there before. */
final class OutputFile {
    private OutputFile() {}

    /** Writes what a file holds. */
    @FunctionalInterface
    interface Content {
        void writeTo(FileChannel channel) throws IOException;
    }

    static void write(Path file, Content content) throws IOException {
        if (Files.exists(file) && !Files.isRegularFile(file)) {
            writeDirectly(file, content);
            return;
        }
        Path folder = file.toAbsolutePath().getParent();
        if (folder == null || !Files.isDirectory(folder)) {
            throw new NoSuchFileException(String.valueOf(folder));
        }
        Path part = folder.resolve(
                file.getFileName() + ".part-" + ProcessHandle.current().pid());
        part.toFile().deleteOnExit();
        try {
            try (FileChannel channel =
                    FileChannel.open(part, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
                content.writeTo(channel);
            }
            Files.move(part, file, StandardCopyOption.REPLACE_EXISTING);
        } finally {
            Files.deleteIfExists(part);
        }
    }

    /** A device or pipe, /dev/null for one, can't be replaced. */
    private static void writeDirectly(Path file, Content content) throws IOException {
        if (Files.isDirectory(file)) {
            throw new IOException(file + " is a folder; give the name of a file.");
        }
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.WRITE)) {
            content.writeTo(channel);
        }
    }
}
