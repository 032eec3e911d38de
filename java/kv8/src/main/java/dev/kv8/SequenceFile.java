package dev.kv8;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.zip.CRC32C;

/**
 * The bytes of a saved sequence on disk: a {@link SequenceHeader}, the token ids (int32, little endian), the blocks. A file is
 * written under another name, brought to the disk, and only then given its own, so under its name there is a whole file or the
 * one before.
 */
final class SequenceFile implements AutoCloseable {
    private static final int READ_BYTES = 1 << 20;

    /** Puts a block's bytes, from position to limit, into a buffer of that size. */
    interface BlockReader {
        void read(int index, ByteBuffer target);
    }

    /** What the header says that depends on the content. */
    interface HeaderMaker {
        SequenceHeader header(int contentChecksum);
    }

    private final Path path;
    private final FileChannel channel;
    private final SequenceHeader header;
    private final long contentStart;

    private SequenceFile(Path path, FileChannel channel, SequenceHeader header, long contentStart) {
        this.path = path;
        this.channel = channel;
        this.header = header;
        this.contentStart = contentStart;
    }

    // ---- writing

    /** Writes a file, over an old one when there is one. {@code block} is space for one block. */
    static void write(
            Path path, HeaderMaker maker, int[] tokens, int length, int blocks, ByteBuffer block, BlockReader reader)
            throws IOException {
        Path target = path.toAbsolutePath();
        if (Files.isDirectory(target)) {
            throw new IOException(path + " is a directory; give the name of a file.");
        }
        Path folder = target.getParent();
        if (folder == null || !Files.isDirectory(folder)) {
            throw new IOException("The folder of " + path + " does not exist; make it first.");
        }
        Path temporary = Files.createTempFile(folder, target.getFileName() + ".", ".tmp");
        try {
            try (FileChannel out = FileChannel.open(temporary, StandardOpenOption.WRITE)) {
                CRC32C crc = new CRC32C();
                long start = maker.header(0).encode().remaining();
                out.position(start);
                ByteBuffer ids = idBuffer(length);
                for (int from = 0; from < length; from += ids.limit() / Integer.BYTES) {
                    int count = Math.min(ids.capacity() / Integer.BYTES, length - from);
                    ids.clear().limit(count * Integer.BYTES).asIntBuffer().put(tokens, from, count);
                    append(out, ids, crc);
                }
                for (int i = 0; i < blocks; i++) {
                    block.clear();
                    reader.read(i, block);
                    append(out, block, crc);
                }
                out.position(0);
                writeFully(out, maker.header((int) crc.getValue()).encode());
                out.force(true);
            }
            Files.move(temporary, target, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
            try (FileChannel directory = FileChannel.open(folder, StandardOpenOption.READ)) {
                directory.force(true);
            }
        } finally {
            Files.deleteIfExists(temporary);
        }
    }

    /** For a part of {@code length} token ids: all of a long sequence may be more bytes than one buffer holds. */
    private static ByteBuffer idBuffer(int length) {
        int bytes = (int) Math.min(READ_BYTES, (long) length * Integer.BYTES);
        return ByteBuffer.allocate(bytes).order(ByteOrder.LITTLE_ENDIAN);
    }

    private static void append(FileChannel out, ByteBuffer bytes, CRC32C crc) throws IOException {
        crc.update(bytes.duplicate());
        writeFully(out, bytes);
    }

    private static void writeFully(FileChannel out, ByteBuffer bytes) throws IOException {
        while (bytes.hasRemaining()) {
            out.write(bytes);
        }
    }

    // ---- reading

    /**
     * Opens a file and checks its header against itself and its length.
     *
     * @throws SequenceFileException when it is no whole file of a sequence
     */
    static SequenceFile open(Path path) throws IOException {
        FileChannel channel = FileChannel.open(path, StandardOpenOption.READ);
        try {
            int size = SequenceHeader.size(path, read(path, channel, 0, SequenceHeader.FIXED_BYTES));
            SequenceHeader header = SequenceHeader.decode(path, read(path, channel, 0, size));
            long expected = size + header.contentBytes();
            if (channel.size() != expected) {
                throw new SequenceFileException(
                        path,
                        "the file has " + channel.size() + " bytes instead of " + expected + ", it is "
                                + (channel.size() < expected ? "cut off." : "too long."));
            }
            return new SequenceFile(path, channel, header, size);
        } catch (IOException | RuntimeException e) {
            channel.close();
            throw e;
        }
    }

    SequenceHeader header() {
        return header;
    }

    /**
     * Reads all of the content.
     *
     * @throws SequenceFileException when its checksum is another
     */
    void verify() throws IOException {
        CRC32C crc = new CRC32C();
        ByteBuffer part = ByteBuffer.allocateDirect(READ_BYTES);
        long end = contentStart + header.contentBytes();
        for (long at = contentStart; at < end; at += part.limit()) {
            part.clear().limit((int) Math.min(READ_BYTES, end - at));
            readFully(path, channel, at, part);
            crc.update(part.flip());
        }
        check(crc);
    }

    private void check(CRC32C crc) throws SequenceFileException {
        if ((int) crc.getValue() != header.contentChecksum()) {
            throw new SequenceFileException(path, "the content is damaged: its checksum is another.");
        }
    }

    int[] tokens() throws IOException {
        int[] tokens = new int[header.tokens()];
        ByteBuffer ids = idBuffer(tokens.length);
        for (int from = 0; from < tokens.length; from += ids.limit() / Integer.BYTES) {
            readIds(ids, from);
            ids.asIntBuffer().get(tokens, from, ids.limit() / Integer.BYTES);
        }
        for (int token : tokens) {
            if (token < 0) {
                throw new SequenceFileException(path, "a token id is " + token + "; the file was not written by kv8.");
            }
        }
        return tokens;
    }

    /** The token ids from {@code from} on, as many as fit. */
    private void readIds(ByteBuffer ids, int from) throws IOException {
        ids.clear().limit((int) Math.min(ids.capacity(), (header.tokens() - from) * (long) Integer.BYTES));
        readFully(path, channel, contentStart + (long) from * Integer.BYTES, ids);
        ids.flip();
    }

    /** Hands the blocks out one after the other; what was changed since {@link #verify} is found when all have been. */
    void blocks(ByteBuffer block, BlockReader taker) throws IOException {
        CRC32C crc = new CRC32C();
        ByteBuffer ids = idBuffer(header.tokens());
        for (int from = 0; from < header.tokens(); from += ids.limit() / Integer.BYTES) {
            readIds(ids, from);
            crc.update(ids.duplicate());
        }
        long at = contentStart + (long) header.tokens() * Integer.BYTES;
        for (int i = 0; i < header.blocks(); i++, at += block.capacity()) {
            block.clear();
            readFully(path, channel, at, block);
            crc.update(block.flip());
            taker.read(i, block.rewind());
        }
        check(crc);
    }

    private static ByteBuffer read(Path path, FileChannel channel, long at, int bytes) throws IOException {
        if (at + bytes > channel.size()) {
            throw new SequenceFileException(
                    path,
                    "the file has only " + channel.size() + " bytes, it is cut off or no file of a kv8 sequence.");
        }
        ByteBuffer buffer = ByteBuffer.allocate(bytes);
        readFully(path, channel, at, buffer);
        return buffer.flip();
    }

    private static void readFully(Path path, FileChannel channel, long at, ByteBuffer target) throws IOException {
        long position = at;
        while (target.hasRemaining()) {
            int count = channel.read(target, position);
            if (count < 0) {
                throw new SequenceFileException(path, "the file is cut off at byte " + position + ".");
            }
            position += count;
        }
    }

    @Override
    public void close() throws IOException {
        channel.close();
    }
}
