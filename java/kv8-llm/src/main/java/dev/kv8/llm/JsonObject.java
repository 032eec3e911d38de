package dev.kv8.llm;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.dataformat.yaml.YAMLFactory;
import dev.kv8.llm.internal.JsonMembers;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * A small JSON object in memory, such as config.json, or a YAML document of the same shape: typed access whose errors name
 * the file and the key. Null counts as absent, as Hugging Face's configurations mostly mean it. Large JSON is streamed, not read
 * with this.
 */
final class JsonObject extends JsonMembers {
    static final JsonFactory FACTORY = JsonFactory.builder()
            .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
            .disable(StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION)
            .build();

    private static final JsonFactory YAML_FACTORY = YAMLFactory.builder()
            .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
            .disable(StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION)
            .build();

    private static final long MAX_BYTES = 64L << 20;

    private final String where;

    private JsonObject(String where, Map<String, Object> values) {
        super(values);
        this.where = where;
    }

    static JsonObject read(Path file) {
        return read(file, FACTORY, "JSON");
    }

    /** The object that {@code parser} has just entered. */
    static JsonObject read(String where, JsonParser parser) throws IOException {
        return new JsonObject(where, read(parser, () -> {}));
    }

    static JsonObject readYaml(Path file) {
        return read(file, YAML_FACTORY, "YAML");
    }

    private static JsonObject read(Path file, JsonFactory factory, String language) {
        try {
            long size = Files.size(file);
            if (size > MAX_BYTES) {
                throw new CheckpointException(
                        file + " has " + size + " bytes; a configuration has at most " + MAX_BYTES + ".");
            }
            try (JsonParser parser = factory.createParser(file.toFile())) {
                if (parser.nextToken() != JsonToken.START_OBJECT) {
                    throw new CheckpointException(file + " does not hold a " + language + " object.");
                }
                Map<String, Object> values = read(parser, () -> {});
                if (parser.nextToken() != null) {
                    throw new CheckpointException(file + " goes on after its " + language + " object.");
                }
                return new JsonObject(file.toString(), values);
            }
        } catch (NoSuchFileException e) {
            throw new CheckpointException(file + " is missing.", e);
        } catch (JsonProcessingException e) {
            throw new CheckpointException(file + " is not valid " + language + ": " + syntaxError(e) + ".", e);
        } catch (IOException e) {
            throw new CheckpointException(file + " cannot be read: " + e, e);
        }
    }

    /** The file, and what in it, for messages. */
    String where() {
        return where;
    }

    boolean has(String key) {
        return value(key).isPresent();
    }

    int requireInteger(String key) {
        return integer(key).orElseThrow(() -> missing(key));
    }

    /** A whole number of at least 1. */
    int requireSize(String key) {
        int value = requireInteger(key);
        if (value < 1) {
            throw wrong(key, value, "a number of at least 1");
        }
        return value;
    }

    /** A whole number from 1 to {@code most}. */
    int requireSize(String key, int most) {
        int value = requireSize(key);
        if (value > most) {
            throw wrong(key, value, "at most " + most);
        }
        return value;
    }

    double requireNumber(String key) {
        return number(key).orElseThrow(() -> missing(key));
    }

    /** A number above 0 that float32, in which it is computed with, has as a normal one. */
    double positive(String key) {
        return positive(key, requireNumber(key));
    }

    /** The same, or {@code absent}. */
    double positive(String key, double absent) {
        double value = number(key).orElse(absent);
        if (!(value >= Float.MIN_NORMAL && value <= Float.MAX_VALUE)) {
            throw wrong(key, value, "more than 0, and neither too small nor too large for float32");
        }
        return value;
    }

    /** A token's text, given as a string or as an object with {@code content}. */
    Optional<String> tokenText(String key) {
        boolean isObject = value(key).filter(Map.class::isInstance).isPresent();
        return isObject ? object(key).flatMap(token -> token.text("content")) : text(key);
    }

    Optional<JsonObject> object(String key) {
        return value(key).map(value -> new JsonObject(where + ", " + key, members(key, value)));
    }

    /** A list of objects; empty when absent. */
    List<JsonObject> objects(String key) {
        Object value = value(key).orElse(List.of());
        if (!(value instanceof List<?> list)) {
            throw wrong(key, value, "a list of objects");
        }
        List<JsonObject> result = new ArrayList<>();
        for (Object element : list) {
            result.add(new JsonObject(where + ", " + key + "[" + result.size() + "]", members(key, element)));
        }
        return result;
    }

    JsonObject requireObject(String key) {
        return object(key).orElseThrow(() -> missing(key));
    }

    /** One integer or a list of them, as {@code eos_token_id} may be. */
    List<Integer> integers(String key) {
        Object value = value(key).orElse(List.of());
        List<Integer> result = new ArrayList<>();
        for (Object element : value instanceof List<?> list ? list : List.of(value)) {
            if (!(element instanceof Integer number)) {
                throw wrong(key, value, "a whole number or a list of them");
            }
            result.add(number);
        }
        return List.copyOf(result);
    }

    CheckpointException missing(String key) {
        return new CheckpointException(where + " has no \"" + key + "\".");
    }

    @Override
    protected CheckpointException wrong(String key, Object value, String allowed) {
        return new CheckpointException(
                where + ": \"" + key + "\" is " + shown(value) + "; it must be " + allowed + ".");
    }

    CheckpointException refused(String key, String why) {
        return new CheckpointException(where + ": \"" + key + "\" " + why + ".");
    }
}
