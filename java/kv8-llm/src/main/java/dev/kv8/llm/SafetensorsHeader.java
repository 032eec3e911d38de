package dev.kv8.llm;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import dev.kv8.llm.internal.JsonMembers;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The JSON header of a safetensors file, streamed and checked: a file is untrusted input, so every entry must lie inside
 * the data, match its shape, and overlap no other before anything of it is read.
 */
final class SafetensorsHeader {
    private static final int MAX_DIMENSIONS = 8;

    /** One tensor; offsets count from the first byte after the header. */
    record Entry(String name, StoredType type, List<Long> shape, long begin, long end) {}

    private final String file;
    private final long dataBytes;

    private SafetensorsHeader(String file, long dataBytes) {
        this.file = file;
        this.dataBytes = dataBytes;
    }

    /**
     * Reads the entries.
     *
     * @param file for messages
     * @param dataBytes that follow the header
     */
    static List<Entry> parse(String file, byte[] json, long dataBytes) {
        SafetensorsHeader header = new SafetensorsHeader(file, dataBytes);
        List<Entry> entries;
        try (JsonParser parser = JsonObject.FACTORY.createParser(json)) {
            entries = header.entries(parser);
        } catch (JsonProcessingException e) {
            throw new CheckpointException(
                    file + " has a header that is not valid JSON: " + JsonMembers.syntaxError(e) + ".", e);
        } catch (IOException e) {
            throw new CheckpointException(file + " has a header that cannot be read: " + e, e);
        }
        header.refuseOverlaps(entries);
        return entries;
    }

    private List<Entry> entries(JsonParser parser) throws IOException {
        if (parser.nextToken() != JsonToken.START_OBJECT) {
            throw bad("a header that is not a JSON object");
        }
        List<Entry> entries = new ArrayList<>();
        while (parser.nextToken() != JsonToken.END_OBJECT) {
            String name = parser.currentName();
            parser.nextToken();
            if (name.equals("__metadata__")) {
                parser.skipChildren();
            } else {
                entries.add(entry(name, parser));
            }
        }
        if (parser.nextToken() != null) {
            throw bad("a header that goes on after its JSON object");
        }
        return entries;
    }

    private Entry entry(String name, JsonParser parser) throws IOException {
        if (!parser.isExpectedStartObjectToken()) {
            throw bad("tensor " + name + " described by something that is not a JSON object");
        }
        String dtype = null;
        long[] shape = null;
        long[] offsets = null;
        while (parser.nextToken() != JsonToken.END_OBJECT) {
            String field = parser.currentName();
            JsonToken token = parser.nextToken();
            switch (field) {
                case "dtype" -> dtype = token == JsonToken.VALUE_STRING ? parser.getText() : null;
                case "shape" -> shape = numbers(parser, name, field, MAX_DIMENSIONS);
                case "data_offsets" -> offsets = numbers(parser, name, field, 2);
                default -> parser.skipChildren();
            }
        }
        return checked(name, dtype, shape, offsets);
    }

    private long[] numbers(JsonParser parser, String name, String field, int most) throws IOException {
        if (!parser.isExpectedStartArrayToken()) {
            throw bad("tensor " + name + " with a \"" + field + "\" that is not a list");
        }
        long[] values = new long[most];
        int count = 0;
        for (JsonToken token = parser.nextToken(); token != JsonToken.END_ARRAY; token = parser.nextToken()) {
            if (token != JsonToken.VALUE_NUMBER_INT || count == most) {
                throw bad("tensor " + name + " with a \"" + field + "\" that is not a list of at most " + most
                        + " whole numbers");
            }
            values[count] = parser.getLongValue();
            if (values[count++] < 0) {
                throw bad("tensor " + name + " with a negative number in \"" + field + "\"");
            }
        }
        return Arrays.copyOf(values, count);
    }

    private Entry checked(String name, @Nullable String dtype, long @Nullable [] shape, long @Nullable [] offsets) {
        if (dtype == null || shape == null || offsets == null || offsets.length != 2) {
            throw bad("tensor " + name + " without a dtype, a shape and two data_offsets");
        }
        StoredType type = StoredType.named(dtype)
                .orElseThrow(() -> bad("tensor " + name + " of the unknown dtype \"" + dtype + "\" (known are "
                        + StoredType.names() + ")"));
        long begin = offsets[0];
        long end = offsets[1];
        if (begin > end || end > dataBytes) {
            throw bad("tensor " + name + " at data_offsets [" + begin + ", " + end + "], outside the file's "
                    + dataBytes + " bytes of data");
        }
        long bytes = type.bytes();
        try {
            for (long dimension : shape) {
                bytes = Math.multiplyExact(bytes, dimension);
            }
        } catch (ArithmeticException e) {
            throw new CheckpointException(
                    file + " has tensor " + name + " whose shape " + Arrays.toString(shape)
                            + " overflows 64 bits. The file is damaged or hostile; fetch it again.",
                    e);
        }
        if (bytes != end - begin) {
            throw bad("tensor " + name + " of shape " + Arrays.toString(shape) + " and dtype " + type + ", which needs "
                    + bytes + " bytes, in " + (end - begin) + " bytes");
        }
        return new Entry(name, type, Arrays.stream(shape).boxed().toList(), begin, end);
    }

    private void refuseOverlaps(List<Entry> entries) {
        List<Entry> sorted = new ArrayList<>(entries);
        sorted.removeIf(entry -> entry.begin() == entry.end());
        sorted.sort(Comparator.comparingLong(Entry::begin));
        for (int i = 1; i < sorted.size(); i++) {
            Entry before = sorted.get(i - 1);
            if (before.end() > sorted.get(i).begin()) {
                throw bad("overlapping tensors " + before.name() + " and "
                        + sorted.get(i).name());
            }
        }
    }

    private CheckpointException bad(String what) {
        return new CheckpointException(file + " has " + what + ". The file is damaged or hostile; fetch it again.");
    }
}
