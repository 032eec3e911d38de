package dev.kv8.llm;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.dataformat.yaml.YAMLFactory;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.OptionalInt;
import org.jspecify.annotations.Nullable;

/**
 * A small JSON object in memory, such as config.json, or a YAML document of the same shape: typed access whose errors name
 * the file and the key. A key with the value null counts as absent, as Hugging Face's configurations mostly mean it. Large JSON
 * is streamed, not read with this.
 */
final class JsonObject {
    static final JsonFactory FACTORY = JsonFactory.builder()
            .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
            .disable(StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION)
            .build();

    private static final JsonFactory YAML_FACTORY = YAMLFactory.builder()
            .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
            .disable(StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION)
            .build();

    private static final long MAX_BYTES = 64L << 20;

    /** What stands for null in an object, so that it can be told from what is absent. */
    private enum Nothing {
        NULL
    }

    private final String where;
    private final Map<String, Object> values;

    private JsonObject(String where, Map<String, Object> values) {
        this.where = where;
        this.values = values;
    }

    static JsonObject read(Path file) {
        return read(file, FACTORY, "JSON");
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
                Map<String, Object> values = object(parser);
                if (parser.nextToken() != null) {
                    throw new CheckpointException(file + " goes on after its " + language + " object.");
                }
                return new JsonObject(file.toString(), values);
            }
        } catch (NoSuchFileException e) {
            throw new CheckpointException(file + " is missing.", e);
        } catch (JsonProcessingException e) {
            throw new CheckpointException(file + " is not valid " + language + ": " + e.getMessage(), e);
        } catch (IOException e) {
            throw new CheckpointException(file + " cannot be read: " + e, e);
        }
    }

    private static Map<String, Object> object(JsonParser parser) throws IOException {
        Map<String, Object> result = new LinkedHashMap<>();
        while (parser.nextToken() != JsonToken.END_OBJECT) {
            String key = parser.currentName();
            JsonToken token = parser.nextToken();
            result.put(key, token == JsonToken.VALUE_NULL ? Nothing.NULL : value(parser, token));
        }
        return result;
    }

    private static List<Object> array(JsonParser parser) throws IOException {
        List<Object> result = new ArrayList<>();
        for (JsonToken token = parser.nextToken(); token != JsonToken.END_ARRAY; token = parser.nextToken()) {
            if (token != JsonToken.VALUE_NULL) {
                result.add(value(parser, token));
            }
        }
        return result;
    }

    private static Object value(JsonParser parser, JsonToken token) throws IOException {
        return switch (token) {
            case START_OBJECT -> object(parser);
            case START_ARRAY -> array(parser);
            case VALUE_TRUE -> true;
            case VALUE_FALSE -> false;
            case VALUE_NUMBER_INT, VALUE_NUMBER_FLOAT -> parser.getNumberValue();
            default -> parser.getText();
        };
    }

    boolean has(String key) {
        return value(key) != null;
    }

    /** Whether the key is there with the value null: where a default is something, this is how to say nothing. */
    boolean isNull(String key) {
        return values.get(key) == Nothing.NULL;
    }

    Iterable<String> keys() {
        return values.keySet().stream().filter(this::has).toList();
    }

    private @Nullable Object value(String key) {
        Object value = values.get(key);
        return value == Nothing.NULL ? null : value;
    }

    OptionalInt integer(String key) {
        Object value = value(key);
        if (value == null) {
            return OptionalInt.empty();
        }
        if (value instanceof Integer number) {
            return OptionalInt.of(number);
        }
        throw wrong(key, value, "a whole number below 2^31");
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

    OptionalDouble number(String key) {
        Object value = value(key);
        if (value == null) {
            return OptionalDouble.empty();
        }
        if (value instanceof Number number && Double.isFinite(number.doubleValue())) {
            return OptionalDouble.of(number.doubleValue());
        }
        throw wrong(key, value, "a finite number");
    }

    double requireNumber(String key) {
        return number(key).orElseThrow(() -> missing(key));
    }

    /** A finite number above 0. */
    double positive(String key) {
        return positive(key, requireNumber(key));
    }

    /** A finite number above 0, or {@code absent}. */
    double positive(String key, double absent) {
        double value = number(key).orElse(absent);
        if (!(value > 0)) {
            throw wrong(key, value, "more than 0");
        }
        return value;
    }

    Optional<Boolean> flag(String key) {
        Object value = value(key);
        if (value == null) {
            return Optional.empty();
        }
        if (value instanceof Boolean flag) {
            return Optional.of(flag);
        }
        throw wrong(key, value, "true or false");
    }

    Optional<String> text(String key) {
        Object value = value(key);
        if (value == null) {
            return Optional.empty();
        }
        if (value instanceof String text) {
            return Optional.of(text);
        }
        throw wrong(key, value, "a string");
    }

    /** A token's text, given as a string or as an object with {@code content}. */
    Optional<String> tokenText(String key) {
        return value(key) instanceof Map<?, ?> ? object(key).flatMap(token -> token.text("content")) : text(key);
    }

    Optional<JsonObject> object(String key) {
        Object value = value(key);
        if (value == null) {
            return Optional.empty();
        }
        if (value instanceof Map<?, ?> map) {
            Map<String, Object> copy = new LinkedHashMap<>();
            map.forEach((name, element) -> copy.put((String) name, element));
            return Optional.of(new JsonObject(where + ", " + key, copy));
        }
        throw wrong(key, value, "an object");
    }

    JsonObject requireObject(String key) {
        return object(key).orElseThrow(() -> missing(key));
    }

    /** One integer or a list of them, as {@code eos_token_id} may be. */
    List<Integer> integers(String key) {
        Object value = value(key);
        if (value == null) {
            return List.of();
        }
        List<Integer> result = new ArrayList<>();
        for (Object element : value instanceof List<?> list ? list : List.of(value)) {
            if (!(element instanceof Integer number)) {
                throw wrong(key, value, "a whole number or a list of them");
            }
            result.add(number);
        }
        return List.copyOf(result);
    }

    List<String> texts(String key) {
        Object value = value(key);
        if (value == null) {
            return List.of();
        }
        List<String> result = new ArrayList<>();
        for (Object element : value instanceof List<?> list ? list : List.of(value)) {
            if (!(element instanceof String text)) {
                throw wrong(key, value, "a string or a list of them");
            }
            result.add(text);
        }
        return List.copyOf(result);
    }

    CheckpointException missing(String key) {
        return new CheckpointException(where + " has no \"" + key + "\".");
    }

    CheckpointException wrong(String key, Object value, String allowed) {
        return new CheckpointException(where + ": \"" + key + "\" is " + value + "; it must be " + allowed + ".");
    }

    CheckpointException refused(String key, String why) {
        return new CheckpointException(where + ": \"" + key + "\" " + why + ".");
    }
}
