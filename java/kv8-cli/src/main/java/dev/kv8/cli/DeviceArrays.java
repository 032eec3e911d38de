package dev.kv8.cli;

import dev.kv8.DeviceMemory;
import dev.kv8.KvBackend;
import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/** Moves raw arrays between files and a device, a piece at a time, so that a file may be larger than a Java buffer. */
final class DeviceArrays {
    private static final int PIECE_BYTES = 8 << 20;

    private DeviceArrays() {}

    /** Fills {@code target} from {@code offset} on with the first {@code bytes} of a file. */
    static void load(KvBackend backend, Path file, long bytes, DeviceMemory target, long offset) throws IOException {
        ByteBuffer piece = ByteBuffer.allocateDirect((int) Math.min(bytes, PIECE_BYTES));
        try (FileChannel source = FileChannel.open(file, StandardOpenOption.READ)) {
            for (long done = 0; done < bytes; done += piece.limit()) {
                readFully(source, piece.clear().limit((int) Math.min(piece.capacity(), bytes - done)), file);
                backend.upload(piece.flip(), target, offset + done);
            }
        }
    }

    /** Writes the first {@code bytes} of {@code source} to a file. */
    static void store(KvBackend backend, DeviceMemory source, long bytes, Path file) throws IOException {
        ByteBuffer piece = ByteBuffer.allocateDirect((int) Math.min(bytes, PIECE_BYTES));
        OutputFile.write(file, target -> {
            for (long done = 0; done < bytes; done += piece.limit()) {
                piece.clear().limit((int) Math.min(piece.capacity(), bytes - done));
                backend.download(source, done, piece);
                writeFully(target, piece.rewind());
            }
        });
    }

    /** Fills {@code target} up to its limit. */
    static void readFully(FileChannel source, ByteBuffer target, Path file) throws IOException {
        while (target.hasRemaining()) {
            if (source.read(target) < 0) {
                throw new EOFException(file + " became shorter while it was read.");
            }
        }
    }

    static void writeFully(FileChannel target, ByteBuffer source) throws IOException {
        while (source.hasRemaining()) {
            target.write(source);
        }
    }
}
