package dev.kv8.server;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.StreamReadFeature;
import dev.kv8.llm.internal.JsonMembers;
import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.Set;

/**
 * The fields of a JSON object that a client has sent: typed access whose errors name the field, and a check at the end that no field
 * was overlooked, so that a misspelt one is refused instead of ignored. Null counts as absent, as OpenAI's clients mean it.
 */
final class JsonFields extends JsonMembers {
    private static final int MAX_DEPTH = 32;

    private static final JsonFactory FACTORY = JsonFactory.builder()
            .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
            .disable(StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION)
            .streamReadConstraints(StreamReadConstraints.builder()
                    .maxNestingDepth(MAX_DEPTH)
                    .maxStringLength(Integer.MAX_VALUE) // the body's limit holds
                    .maxNumberLength(40)
                    .build())
            .build();

    /** Before the names of fields in messages: empty for the body, "messages[0]." for a part of it. */
    private final String prefix;

    private final Set<String> unread;

    private JsonFields(String prefix, Map<String, Object> values) {
        super(values);
        this.prefix = prefix;
        unread = new LinkedHashSet<>(keys());
    }

    /** @throws ApiError when the body is not one JSON object */
    static JsonFields parse(byte[] body) {
        try (JsonParser parser = FACTORY.createParser(body)) {
            if (parser.nextToken() != JsonToken.START_OBJECT) {
                throw ApiError.invalid(null, "The body is not a JSON object.");
            }
            JsonFields fields = new JsonFields("", read(parser, () -> {
                throw ApiError.invalid(null, "A list in the body has null in it.");
            }));
            if (parser.nextToken() != null) {
                throw ApiError.invalid(null, "The body goes on after its JSON object.");
            }
            return fields;
        } catch (JsonProcessingException e) {
            throw ApiError.invalid(null, "The body is not valid JSON: " + syntaxError(e) + ".");
        } catch (IOException e) {
            throw ApiError.invalid(null, "The body is not valid JSON in UTF-8: " + e.getMessage() + ".");
        }
    }

    @Override
    public Optional<Object> value(String name) {
        unread.remove(name);
        return super.value(name);
    }

    OptionalLong longInteger(String name) {
        Object value = value(name).orElse(null);
        if (value == null) {
            return OptionalLong.empty();
        }
        if (value instanceof Integer || value instanceof Long) {
            return OptionalLong.of(((Number) value).longValue());
        }
        throw wrong(name, value, "a whole number of 64 bits");
    }

    /** Whether a flag is there and true. */
    boolean isSet(String name) {
        return flag(name).orElse(false);
    }

    /** A list of whole numbers; empty when absent. */
    int[] integers(String name) {
        Object value = value(name).orElse(List.of());
        if (value instanceof List<?> list) {
            return integers(name, list);
        }
        throw wrong(name, value, "a list of whole numbers");
    }

    int[] integers(String name, List<?> list) {
        int[] result = new int[list.size()];
        for (int i = 0; i < result.length; i++) {
            if (!(list.get(i) instanceof Integer number)) {
                throw wrong(name + "[" + i + "]", list.get(i), "a whole number below 2^31");
            }
            result[i] = number;
        }
        return result;
    }

    Optional<JsonFields> object(String name) {
        return value(name).map(value -> inside(name, value));
    }

    /** A list of objects; empty when absent. */
    List<JsonFields> objects(String name) {
        Object value = value(name).orElse(List.of());
        if (!(value instanceof List<?> list)) {
            throw wrong(name, value, "a list of objects");
        }
        List<JsonFields> result = new ArrayList<>();
        for (int i = 0; i < list.size(); i++) {
            result.add(inside(name + "[" + i + "]", list.get(i)));
        }
        return result;
    }

    private JsonFields inside(String name, Object value) {
        return new JsonFields(prefix + name + ".", members(name, value));
    }

    /** Fields that change no text, which this server may leave unread. */
    void ignore(String... names) {
        for (String name : names) {
            unread.remove(name);
        }
    }

    /** Fields for what this server cannot do; an empty list, an empty object, false and 0 ask for nothing. */
    void refuse(String... names) {
        for (String name : names) {
            Object value = value(name).orElse(false);
            boolean asksForNothing = value.equals(false)
                    || value.equals(0)
                    || (value instanceof List<?> list && list.isEmpty())
                    || (value instanceof Map<?, ?> && inside(name, value).keys().isEmpty());
            if (!asksForNothing) {
                throw ApiError.invalid(
                        prefix + name,
                        "unsupported_parameter",
                        "\"" + prefix + name + "\" is not supported by this server.");
            }
        }
    }

    /** @throws ApiError naming the first field that nobody has asked for */
    void finish() {
        for (String name : unread) {
            throw ApiError.invalid(
                    prefix + name,
                    "unknown_parameter",
                    "Unrecognized request argument supplied: \"" + shown(prefix + name) + "\".");
        }
    }

    String name(String field) {
        return prefix + field;
    }

    ApiError missing(String name) {
        return ApiError.invalid(prefix + name, "\"" + prefix + name + "\" is missing.");
    }

    @Override
    protected ApiError wrong(String name, Object value, String allowed) {
        return ApiError.invalid(
                prefix + name, "\"" + prefix + name + "\" is " + shown(value) + "; it must be " + allowed + ".");
    }
}
