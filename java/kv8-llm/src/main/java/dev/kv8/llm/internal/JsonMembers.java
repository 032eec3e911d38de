package dev.kv8.llm.internal;

import com.fasterxml.jackson.core.JsonLocation;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.OptionalInt;

/**
 * The members of a small JSON object in memory: typed access, whose errors a subclass words for whoever wrote the object. A
 * member with the value null counts as absent.
 */
public abstract class JsonMembers {
    private static final int SHOWN_CHARACTERS = 60;

    /** What stands for null, so that it can be told from what is absent. */
    private enum Nothing {
        NULL
    }

    private final Map<String, Object> values;

    /** @param values as {@link #read} gives them */
    protected JsonMembers(Map<String, Object> values) {
        this.values = values;
    }

    /**
     * Reads the object that {@code parser} has just entered.
     *
     * @param nullInList is run for each null in a list, which is left out there
     */
    protected static Map<String, Object> read(JsonParser parser, Runnable nullInList) throws IOException {
        Map<String, Object> result = new LinkedHashMap<>();
        while (parser.nextToken() != JsonToken.END_OBJECT) {
            String key = parser.currentName();
            JsonToken token = parser.nextToken();
            result.put(key, token == JsonToken.VALUE_NULL ? Nothing.NULL : value(parser, token, nullInList));
        }
        return result;
    }

    private static List<Object> list(JsonParser parser, Runnable nullInList) throws IOException {
        List<Object> result = new ArrayList<>();
        for (JsonToken token = parser.nextToken(); token != JsonToken.END_ARRAY; token = parser.nextToken()) {
            if (token == JsonToken.VALUE_NULL) {
                nullInList.run();
            } else {
                result.add(value(parser, token, nullInList));
            }
        }
        return result;
    }

    private static Object value(JsonParser parser, JsonToken token, Runnable nullInList) throws IOException {
        return switch (token) {
            case START_OBJECT -> read(parser, nullInList);
            case START_ARRAY -> list(parser, nullInList);
            case VALUE_TRUE -> true;
            case VALUE_FALSE -> false;
            case VALUE_NUMBER_INT, VALUE_NUMBER_FLOAT -> parser.getNumberValue();
            default -> parser.getText();
        };
    }

    /** What is wrong with some text and where in it, without what the parser says of itself. */
    public static String syntaxError(JsonProcessingException e) {
        String what = String.valueOf(e.getOriginalMessage()).replaceAll("\\[Source: [^;]*; ", "[");
        JsonLocation at = e.getLocation();
        return at == null ? what : what + " (line " + at.getLineNr() + ", column " + at.getColumnNr() + ")";
    }

    /** A value as a message shows it: whoever wrote it may have written any number of characters. */
    public static String shown(Object value) {
        String text = String.valueOf(value);
        return text.length() <= SHOWN_CHARACTERS ? text : text.substring(0, SHOWN_CHARACTERS) + "…";
    }

    /** Says that a value is not what a member may have. */
    protected abstract RuntimeException wrong(String key, Object value, String allowed);

    /** What a member holds: String, Number, Boolean, List or Map. */
    public Optional<Object> value(String key) {
        return Optional.ofNullable(values.get(key)).filter(value -> value != Nothing.NULL);
    }

    /** Of the members that are there, in the object's order. */
    public final List<String> keys() {
        return values.entrySet().stream()
                .filter(member -> member.getValue() != Nothing.NULL)
                .map(Map.Entry::getKey)
                .toList();
    }

    /** Whether the member is there with the value null: where a default is something, this is how to say nothing. */
    public final boolean isNull(String key) {
        return values.get(key) == Nothing.NULL;
    }

    public final OptionalInt integer(String key) {
        Object value = value(key).orElse(null);
        if (value == null) {
            return OptionalInt.empty();
        }
        if (value instanceof Integer number) {
            return OptionalInt.of(number);
        }
        throw wrong(key, value, "a whole number below 2^31");
    }

    public final OptionalDouble number(String key) {
        Object value = value(key).orElse(null);
        if (value == null) {
            return OptionalDouble.empty();
        }
        if (value instanceof Number number && Double.isFinite(number.doubleValue())) {
            return OptionalDouble.of(number.doubleValue());
        }
        throw wrong(key, value, "a finite number");
    }

    public final Optional<Boolean> flag(String key) {
        return value(key).map(value -> {
            if (value instanceof Boolean flag) {
                return flag;
            }
            throw wrong(key, value, "true or false");
        });
    }

    public final Optional<String> text(String key) {
        return value(key).map(value -> {
            if (value instanceof String text) {
                return text;
            }
            throw wrong(key, value, "a string");
        });
    }

    /** A string or a list of them; empty when absent. */
    public final List<String> texts(String key) {
        Object value = value(key).orElse(List.of());
        List<String> result = new ArrayList<>();
        for (Object element : value instanceof List<?> list ? list : List.of(value)) {
            if (!(element instanceof String text)) {
                throw wrong(key, value, "a string or a list of them");
            }
            result.add(text);
        }
        return List.copyOf(result);
    }

    /** The members of a value that must be an object. */
    protected final Map<String, Object> members(String key, Object value) {
        if (!(value instanceof Map<?, ?> map)) {
            throw wrong(key, value, "an object");
        }
        Map<String, Object> members = new LinkedHashMap<>();
        map.forEach((name, element) -> members.put((String) name, element));
        return members;
    }
}
