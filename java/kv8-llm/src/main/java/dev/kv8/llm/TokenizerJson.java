package dev.kv8.llm;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonStreamContext;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.StreamReadFeature;
import dev.kv8.llm.internal.JsonMembers;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;

/**
 * A tokenizer.json's text. The native library that it is for ends the process where something is not as it expects, so that is looked
 * for here first: whether it is JSON in its sense, and whether templates have the tokens that they name.
 */
final class TokenizerJson {
    /** The largest published have some tens of MiB. */
    private static final long MAX_BYTES = 512L << 20;
    /** The library's is 127. */
    private static final int MAX_DEPTH = 100;

    /** Far more than any has: a token of a listed vocabulary, and an expression. */
    private static final int MAX_TOKEN_BYTES = 1024;

    private static final int MAX_REGEX_CHARACTERS = 4096;

    private static final String POST_PROCESSOR = "post_processor";

    private static final JsonFactory FACTORY = JsonFactory.builder()
            .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
            .disable(StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION)
            .streamReadConstraints(StreamReadConstraints.builder()
                    .maxNestingDepth(MAX_DEPTH)
                    .maxStringLength((int) MAX_BYTES)
                    .build())
            .build();

    private TokenizerJson() {}

    /**
     * Reads a file.
     *
     * @throws CheckpointException when it is not JSON, or not such as the library takes
     */
    static byte[] read(Path file) {
        try {
            long size = Files.size(file);
            if (size > MAX_BYTES) {
                throw new CheckpointException(
                        file + " has " + size + " bytes; a tokenizer has at most " + MAX_BYTES + ".");
            }
            byte[] text = Files.readAllBytes(file);
            checkTokens(file, text);
            checkPostProcessor(file, text);
            return text;
        } catch (JsonProcessingException e) {
            throw new CheckpointException(
                    file + " is not valid JSON: " + JsonMembers.syntaxError(e) + ". Fetch the file again.", e);
        } catch (IOException e) {
            throw new CheckpointException(file + " cannot be read: " + e, e);
        }
    }

    private static void checkTokens(Path file, byte[] text) throws IOException {
        try (JsonParser parser = FACTORY.createParser(text)) {
            if (parser.nextToken() != JsonToken.START_OBJECT) {
                throw new CheckpointException(file + " does not hold a JSON object.");
            }
            for (JsonToken token = parser.nextToken(); token != null; token = parser.nextToken()) {
                boolean isText = token == JsonToken.VALUE_STRING || token == JsonToken.FIELD_NAME;
                if (isText && !isUnicode(parser.getText())) {
                    throw wrong(file, parser, "a half of a UTF-16 surrogate pair");
                }
                if (token == JsonToken.VALUE_STRING) {
                    checkLength(file, parser);
                }
                if (token.isNumeric() && !Double.isFinite(parser.getDoubleValue())) {
                    throw wrong(file, parser, "a number that no float64 holds");
                }
            }
        }
    }

    /** What the library goes through by recursion. */
    private static void checkLength(Path file, JsonParser parser) throws IOException {
        if ("Regex".equals(parser.currentName()) && parser.getTextLength() > MAX_REGEX_CHARACTERS) {
            throw wrong(file, parser, "a regular expression of more than " + MAX_REGEX_CHARACTERS + " characters");
        }
        if (isInListedVocabulary(parser) && parser.getText().getBytes(UTF_8).length > MAX_TOKEN_BYTES) {
            throw wrong(file, parser, "a token of more than " + MAX_TOKEN_BYTES + " bytes");
        }
    }

    /** A vocabulary is a list of lists of a token and its score, or an object, which this is not about. */
    private static boolean isInListedVocabulary(JsonParser parser) {
        JsonStreamContext entry = parser.getParsingContext();
        JsonStreamContext list = entry.getParent();
        return entry.inArray()
                && list.inArray()
                && "vocab".equals(list.getParent().getCurrentName());
    }

    private static void checkPostProcessor(Path file, byte[] text) throws IOException {
        try (JsonParser parser = FACTORY.createParser(text)) {
            parser.nextToken();
            while (parser.nextToken() == JsonToken.FIELD_NAME) {
                boolean wanted = parser.currentName().equals(POST_PROCESSOR);
                if (parser.nextToken() == JsonToken.START_OBJECT && wanted) {
                    checkTemplates(JsonObject.read(file + ", " + POST_PROCESSOR, parser));
                    return; // the vocabulary comes behind it, and there is no second one
                }
                parser.skipChildren();
            }
        }
    }

    /** Of a processor and of those in it. */
    private static void checkTemplates(JsonObject processor) {
        processor.objects("processors").forEach(TokenizerJson::checkTemplates);
        Set<String> known = processor
                .object("special_tokens")
                .map(tokens -> Set.copyOf(tokens.keys()))
                .orElse(Set.of());
        for (String template : List.of("single", "pair")) {
            for (JsonObject piece : processor.objects(template)) {
                piece.object("SpecialToken")
                        .flatMap(token -> token.text("id"))
                        .filter(id -> !known.contains(id))
                        .ifPresent(id -> {
                            throw processor.refused(
                                    template, "names the token \"" + id + "\", which is not in special_tokens");
                        });
            }
        }
    }

    private static CheckpointException wrong(Path file, JsonParser parser, String what) {
        return new CheckpointException(file + " has " + what + " in line "
                + parser.currentTokenLocation().getLineNr() + ", column "
                + parser.currentTokenLocation().getColumnNr() + ". Fetch the file again.");
    }

    private static boolean isUnicode(String text) {
        return text.codePoints().noneMatch(c -> c >= Character.MIN_SURROGATE && c <= Character.MAX_SURROGATE);
    }
}
