package dev.kv8.cli;

import static dev.kv8.llm.internal.JsonMembers.shown;
import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.BufferedInputStream;
import java.io.BufferedReader;
import java.io.EOFException;
import java.io.FilterReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.Reader;
import java.nio.channels.Channels;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.zip.GZIPInputStream;
import java.util.zip.ZipException;

/**
 * A file of requests, plain or compressed by gzip, read part by part. A line is {@code timestamp_ms}, {@code input_tokens},
 * {@code output_tokens} and {@code block_ids}, separated by tabs; block ids are numbers and inclusive ranges, separated by
 * commas: {@code 0,46-57,2353}. Lines that are empty or begin with # say nothing. A line that is anything else is refused by
 * its number.
 */
final class RequestTrace implements AutoCloseable {
    /** A part ends after the request that reaches so many blocks. */
    private static final int PART_BLOCKS = 1 << 20;
    /** A range of ids takes few characters; more blocks than this are a slip of the keyboard. */
    private static final int MAX_BLOCKS = 1 << 24;

    private static final int MAX_CHARACTERS = 1 << 24;

    private static final int FIELDS = 4;
    private static final int GZIP_MAGIC = 0x1F8B;

    private final Path file;
    private final int blockTokens;
    private final FileChannel channel;
    private final long bytes;
    private final BufferedReader lines;
    private long line;

    /**
     * Opens {@code file}.
     *
     * @param blockTokens tokens in a block, which each line's counts must agree with, or 0 for any
     */
    RequestTrace(Path file, int blockTokens) throws IOException {
        if (Files.isDirectory(file)) {
            throw new IOException(file + " is a folder; give a trace's file.");
        }
        this.file = file;
        this.blockTokens = blockTokens;
        channel = FileChannel.open(file);
        try {
            bytes = channel.size();
            lines = new BufferedReader(
                    new LineLimit(new InputStreamReader(decompressed(Channels.newInputStream(channel)), UTF_8)));
        } catch (ZipException | EOFException e) {
            channel.close();
            throw damaged(e);
        } catch (IOException | RuntimeException e) {
            channel.close();
            throw e;
        }
    }

    private InputStream decompressed(InputStream raw) throws IOException {
        InputStream in = new BufferedInputStream(raw);
        in.mark(2);
        int magic = (in.read() << 8) | in.read();
        in.reset();
        return magic == GZIP_MAGIC ? new GZIPInputStream(in) : in;
    }

    /**
     * Replaces the content of {@code part} by the next requests.
     *
     * @return whether there were any
     * @throws IOException when the file can't be read, or a line is malformed
     */
    boolean read(TracePart part) throws IOException {
        part.clear();
        try {
            String text;
            while (part.blocks() < PART_BLOCKS && (text = lines.readLine()) != null) {
                line++;
                if (!text.isBlank() && text.charAt(0) != '#') {
                    add(text, part);
                }
            }
        } catch (ZipException | EOFException e) {
            throw damaged(e);
        }
        return part.requests() > 0;
    }

    private IOException damaged(IOException e) {
        String why = e.getMessage() == null ? "it is cut off" : e.getMessage();
        return new IOException(file + " is damaged after line " + line + ": " + why + ".", e);
    }

    /** Refuses a line that would not fit into memory, which a small compressed file may well hold. */
    private final class LineLimit extends FilterReader {
        private long length;

        LineLimit(Reader in) {
            super(in);
        }

        @Override
        public int read(char[] target, int offset, int count) throws IOException {
            int got = super.read(target, offset, count);
            for (int i = offset; i < offset + got; i++) {
                length = target[i] == '\n' || target[i] == '\r' ? 0 : length + 1;
            }
            if (length > MAX_CHARACTERS) {
                throw malformed(line + 1, "it has more than " + MAX_CHARACTERS + " characters");
            }
            return got;
        }
    }

    private void add(String text, TracePart part) throws IOException {
        String[] fields = text.split("\t", -1);
        if (fields.length != FIELDS) {
            throw malformed("it has " + fields.length + " fields separated by tabs; " + FIELDS
                    + " are needed: timestamp_ms, input_tokens, output_tokens, block_ids");
        }
        number("timestamp_ms", fields[0]);
        long inputTokens = number("input_tokens", fields[1]);
        number("output_tokens", fields[2]);
        int before = part.blocks();
        for (String range : fields[3].split(",", -1)) {
            int dash = range.indexOf('-', 1);
            long first = number("block_ids", dash < 0 ? range : range.substring(0, dash));
            long last = dash < 0 ? first : number("block_ids", range.substring(dash + 1));
            if (last < first) {
                throw malformed("the range " + shown(range) + " ends before it begins");
            }
            if (last - first >= MAX_BLOCKS - (part.blocks() - before)) {
                throw malformed("with " + shown(range) + " it has more than " + MAX_BLOCKS + " blocks");
            }
            part.addBlocks(first, last);
        }
        int count = part.blocks() - before;
        if (blockTokens > 0 && count != blocksOf(inputTokens)) {
            throw malformed(inputTokens + " input tokens are not " + count + " blocks of " + blockTokens
                    + "; give the trace's own --block-size, or none");
        }
        part.endRequest(line);
    }

    private long blocksOf(long tokens) {
        return tokens == 0 ? 0 : (tokens - 1) / blockTokens + 1;
    }

    private long number(String field, String text) throws IOException {
        boolean digits = !text.isEmpty() && text.chars().allMatch(c -> c >= '0' && c <= '9');
        try {
            if (digits) {
                return Long.parseLong(text);
            }
        } catch (NumberFormatException e) {
            // Said below.
        }
        throw malformed(
                field + " has \"" + shown(text) + "\", which is not a whole number from 0 to " + Long.MAX_VALUE);
    }

    /** The refusal of the line read last. */
    private IOException malformed(String why) {
        return malformed(line, why);
    }

    IOException malformed(long number, String why) {
        return new IOException(file + ", line " + number + ": " + why + ".");
    }

    /** Bytes read of {@link #bytes}. */
    long position() throws IOException {
        return channel.position();
    }

    /** Of the file. */
    long bytes() {
        return bytes;
    }

    @Override
    public void close() throws IOException {
        channel.close();
    }
}
