package dev.kv8.llm;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.Locale;

/**
 * A data set in a file: JSON lines ({@code .jsonl}, {@code .ndjson}, {@code .json}), a sample a line, or a plain text, cut at
 * line ends into samples of a given size. Opening it reads it once for its digest and for where samples begin; then single
 * samples are read from there, so it may be larger than memory.
 */
final class FileSamples implements SampleSource {
    private static final int WINDOW_BYTES = 1 << 20;
    private static final int MAX_SAMPLE_BYTES = 64 << 20;

    private final Path file;
    private final FileChannel channel;
    private final boolean jsonLines;
    private final String sha256;
    private int size;
    /** {@code [size]}: where a sample begins, where it ends, and its first line, counted from 1. */
    private long[] begins = new long[1024];

    private long[] ends = new long[1024];
    private long[] lines = new long[1024];

    /** {@code pieceBytes}: a sample of a plain text ends with the line that brings it to this size. */
    private FileSamples(Path file, FileChannel channel, int pieceBytes) throws IOException {
        this.file = file;
        this.channel = channel;
        String name = String.valueOf(file.getFileName()).toLowerCase(Locale.ROOT);
        jsonLines = name.endsWith(".jsonl") || name.endsWith(".ndjson") || name.endsWith(".json");
        sha256 = index(jsonLines ? 1 : pieceBytes);
    }

    static FileSamples open(Path file, int pieceBytes) {
        try {
            FileChannel channel = FileChannel.open(file, StandardOpenOption.READ);
            try {
                return new FileSamples(file, channel, pieceBytes);
            } catch (IOException | RuntimeException e) {
                channel.close();
                throw e;
            }
        } catch (NoSuchFileException e) {
            throw new CalibrationException("There is no data set " + file + ".", e);
        } catch (IOException e) {
            throw new CalibrationException("The data set " + file + " can't be read: " + e.getMessage(), e);
        }
    }

    /** Finds the samples, leaves out blank ones, and returns the digest of all bytes. */
    private String index(int pieceBytes) throws IOException {
        MessageDigest digest = Digests.sha256();
        ByteBuffer window = ByteBuffer.allocate(WINDOW_BYTES);
        long position = 0;
        long begin = 0;
        long line = 1;
        long firstLine = 1;
        boolean blank = true;
        while (channel.read(window.clear()) > 0) {
            window.flip();
            digest.update(window.array(), 0, window.limit());
            while (window.hasRemaining()) {
                byte next = window.get();
                position++;
                blank &= next == ' ' || next == '\t' || next == '\r' || next == '\n';
                if (next != '\n') {
                    continue;
                }
                line++;
                if (position - begin >= pieceBytes) {
                    add(begin, position, firstLine, blank);
                    begin = position;
                    firstLine = line;
                    blank = true;
                }
            }
        }
        add(begin, position, firstLine, blank);
        return HexFormat.of().formatHex(digest.digest());
    }

    private void add(long begin, long end, long line, boolean blank) {
        if (blank) {
            return;
        }
        if (size == begins.length) {
            begins = Arrays.copyOf(begins, 2 * size);
            ends = Arrays.copyOf(ends, 2 * size);
            lines = Arrays.copyOf(lines, 2 * size);
        }
        begins[size] = begin;
        ends[size] = end;
        lines[size++] = line;
    }

    @Override
    public int size() {
        return size;
    }

    @Override
    public String sha256() {
        return sha256;
    }

    @Override
    public CalibrationSample sample(int index) {
        String text = read(index);
        return jsonLines ? SampleLine.parse(text, place(index)) : new CalibrationSample.Text(text);
    }

    private String read(int index) {
        long bytes = ends[index] - begins[index];
        if (bytes > MAX_SAMPLE_BYTES) {
            throw new CalibrationException(place(index) + " has " + bytes + " bytes; a sample has at most "
                    + MAX_SAMPLE_BYTES + ". Break it into lines.");
        }
        ByteBuffer read = ByteBuffer.allocate((int) bytes);
        try {
            while (read.hasRemaining()) {
                if (channel.read(read, begins[index] + read.position()) < 0) {
                    throw new CalibrationException(file + " has become shorter since it was opened.");
                }
            }
            return StandardCharsets.UTF_8.newDecoder().decode(read.flip()).toString();
        } catch (CharacterCodingException e) {
            throw new CalibrationException(place(index) + " is not text in UTF-8.", e);
        } catch (IOException e) {
            throw new CalibrationException(place(index) + " can't be read: " + e.getMessage(), e);
        }
    }

    @Override
    public String place(int index) {
        return file + ", line " + lines[index];
    }

    @Override
    public void close() {
        try {
            channel.close();
        } catch (IOException e) {
            throw new CalibrationException(file + " can't be closed: " + e.getMessage(), e);
        }
    }
}
