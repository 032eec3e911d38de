package dev.kv8.tests;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** A JSON value that a test looks into: a {@code Map}, {@code List}, {@code String}, {@code Double}, {@code Boolean} or null. */
record Json(Object value) {
    private static final Object NULL = new Object();

    static Json parse(String text) {
        try (JsonParser parser = new JsonFactory().createParser(text)) {
            parser.nextToken();
            Json json = new Json(value(parser));
            if (parser.nextToken() != null) {
                throw new AssertionError("More than one JSON value: " + text);
            }
            return json;
        } catch (IOException e) {
            throw new AssertionError("Not JSON: " + text, e);
        }
    }

    static Json read(Path file) {
        try {
            return parse(Files.readString(file));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static Object value(JsonParser parser) throws IOException {
        return switch (parser.currentToken()) {
            case START_OBJECT -> object(parser);
            case START_ARRAY -> array(parser);
            case VALUE_NUMBER_INT, VALUE_NUMBER_FLOAT -> parser.getDoubleValue();
            case VALUE_TRUE, VALUE_FALSE -> parser.getBooleanValue();
            case VALUE_NULL -> NULL;
            default -> parser.getText();
        };
    }

    private static Map<String, Object> object(JsonParser parser) throws IOException {
        Map<String, Object> object = new LinkedHashMap<>();
        while (parser.nextToken() != JsonToken.END_OBJECT) {
            String name = parser.currentName();
            parser.nextToken();
            object.put(name, value(parser));
        }
        return object;
    }

    private static List<Object> array(JsonParser parser) throws IOException {
        List<Object> array = new ArrayList<>();
        while (parser.nextToken() != JsonToken.END_ARRAY) {
            array.add(value(parser));
        }
        return array;
    }

    Json get(String name) {
        if (!(value instanceof Map<?, ?> object) || !object.containsKey(name)) {
            throw new AssertionError("No " + name + " in " + value);
        }
        return new Json(object.get(name));
    }

    List<Json> list() {
        if (!(value instanceof List<?> array)) {
            throw new AssertionError("Not an array: " + value);
        }
        List<Json> items = new ArrayList<>();
        array.forEach(item -> items.add(new Json(item)));
        return items;
    }

    String text() {
        return (String) value;
    }

    double number() {
        return (Double) value;
    }

    boolean isTrue() {
        return (Boolean) value;
    }

    int[] integers() {
        return list().stream().mapToInt(item -> (int) item.number()).toArray();
    }
}
