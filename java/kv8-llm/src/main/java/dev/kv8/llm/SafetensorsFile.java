package dev.kv8.llm;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;

/**
 * One safetensors file: 8 bytes of header length, a JSON header, the tensors' bytes. Tensors are mapped in windows when
 * they are asked for, so a tensor may be larger than a Java buffer and an unused one costs nothing.
 */
final class SafetensorsFile implements AutoCloseable {
    private static final long MAX_HEADER_BYTES = 100_000_000;

    private final Path path;
    private final FileChannel channel;
    private final int headerBytes;
    private final List<StoredTensor> tensors;

    private SafetensorsFile(Path path, FileChannel channel) throws IOException {
        this.path = path;
        this.channel = channel;
        long size = channel.size();
        if (size < Long.BYTES) {
            throw new CheckpointException(path + " has " + size
                    + " bytes; a safetensors file begins with 8 bytes of header length. Fetch the file again.");
        }
        long length = map(0, Long.BYTES).getLong();
        if (length < 2 || length > MAX_HEADER_BYTES || length > size - Long.BYTES) {
            throw new CheckpointException(path + " says that its header has " + Long.toUnsignedString(length)
                    + " bytes; it must have between 2 and " + MAX_HEADER_BYTES + " and the file has " + size
                    + ". Fetch the file again; it may be a pointer of a large-file store.");
        }
        headerBytes = (int) length;
        byte[] header = header();
        long data = Long.BYTES + length;
        List<StoredTensor> found = new ArrayList<>();
        for (SafetensorsHeader.Entry entry : SafetensorsHeader.parse(path.toString(), header, size - data)) {
            found.add(new StoredTensor(
                    this,
                    entry.name(),
                    entry.type(),
                    entry.shape(),
                    data + entry.begin(),
                    entry.end() - entry.begin()));
        }
        this.tensors = List.copyOf(found);
    }

    static SafetensorsFile open(Path path) {
        FileChannel channel;
        try {
            channel = FileChannel.open(path, StandardOpenOption.READ);
        } catch (NoSuchFileException e) {
            throw new CheckpointException(path + " is missing.", e);
        } catch (IOException e) {
            throw new CheckpointException(path + " cannot be opened: " + e, e);
        }
        try {
            return new SafetensorsFile(path, channel);
        } catch (IOException | RuntimeException e) {
            try {
                channel.close();
            } catch (IOException suppressed) {
                e.addSuppressed(suppressed);
            }
            if (e instanceof RuntimeException runtime) {
                throw runtime;
            }
            throw new CheckpointException(path + " cannot be read: " + e, e);
        }
    }

    Path path() {
        return path;
    }

    /** The JSON header's text, padding included. */
    byte[] header() {
        byte[] header = new byte[headerBytes];
        map(Long.BYTES, headerBytes).get(header);
        return header;
    }

    List<StoredTensor> tensors() {
        return tensors;
    }

    /** A little-endian window of the file. */
    ByteBuffer map(long position, int length) {
        try {
            return channel.map(FileChannel.MapMode.READ_ONLY, position, length).order(ByteOrder.LITTLE_ENDIAN);
        } catch (IOException e) {
            throw new CheckpointException(
                    path + " cannot be mapped at " + position + " for " + length + " bytes: " + e, e);
        }
    }

    @Override
    public void close() {
        try {
            channel.close();
        } catch (IOException e) {
            throw new CheckpointException(path + " cannot be closed: " + e, e);
        }
    }
}
