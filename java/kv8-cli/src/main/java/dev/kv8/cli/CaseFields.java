package dev.kv8.cli;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import dev.kv8.llm.internal.JsonMembers;
import java.io.IOException;
import java.io.Reader;
import java.nio.charset.CharacterCodingException;
import java.nio.file.Files;
import java.nio.file.NotDirectoryException;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;

/** The scalars that describe an attention case, from its case.properties or else its case.json. */
final class CaseFields {
    private final Path file;
    private final Map<String, String> values;

    private CaseFields(Path file, Map<String, String> values) {
        this.file = file;
        this.values = values;
    }

    static CaseFields read(Path folder) throws IOException {
        if (!Files.isDirectory(folder)) {
            throw new NotDirectoryException(folder.toString());
        }
        for (String name : List.of("case.properties", "case.json")) {
            Path file = folder.resolve(name);
            if (Files.exists(file)) {
                try {
                    return new CaseFields(file, name.endsWith(".json") ? readJson(file) : readProperties(file));
                } catch (JsonProcessingException e) {
                    throw new IOException(file + " is not valid JSON: " + JsonMembers.syntaxError(e) + ".", e);
                } catch (CharacterCodingException e) {
                    throw new IOException(file + " is not text in UTF-8.", e);
                }
            }
        }
        throw new IOException(folder + " is not an attention case: it has neither case.properties nor case.json.");
    }

    private static Map<String, String> readProperties(Path file) throws IOException {
        Properties properties = new Properties();
        try (Reader reader = Files.newBufferedReader(file)) {
            properties.load(reader);
        } catch (IllegalArgumentException e) {
            throw new IOException(file + " is not a properties file: " + e.getMessage(), e);
        }
        Map<String, String> values = new HashMap<>();
        properties.stringPropertyNames().forEach(name -> values.put(name, properties.getProperty(name)));
        return values;
    }

    /** Top-level scalars; arrays and objects tell nothing that the files beside it don't. */
    private static Map<String, String> readJson(Path file) throws IOException {
        Map<String, String> values = new HashMap<>();
        try (Reader reader = Files.newBufferedReader(file);
                JsonParser parser = new JsonFactory().createParser(reader)) {
            if (parser.nextToken() != JsonToken.START_OBJECT) {
                throw new IOException(file + " does not hold a JSON object.");
            }
            for (String name = parser.nextFieldName(); name != null; name = parser.nextFieldName()) {
                JsonToken value = parser.nextToken();
                if (value.isScalarValue()) {
                    values.put(name, parser.getText());
                } else {
                    parser.skipChildren();
                }
            }
        }
        return values;
    }

    String text(String name) throws IOException {
        String value = values.get(name);
        if (value == null || value.isBlank()) {
            throw new IOException(file + " has no " + name + ".");
        }
        return value.strip();
    }

    int integer(String name, int least) throws IOException {
        try {
            int value = Integer.parseInt(text(name));
            if (value >= least) {
                return value;
            }
        } catch (NumberFormatException e) {
            throw new IOException(
                    invalid(name, "it must be a whole number of at least " + least)
                            .getMessage(),
                    e);
        }
        throw invalid(name, "it must be a whole number of at least " + least);
    }

    float number(String name) throws IOException {
        try {
            return Float.parseFloat(text(name));
        } catch (NumberFormatException e) {
            throw new IOException(invalid(name, "it must be a number").getMessage(), e);
        }
    }

    IOException invalid(String name, String rule) {
        return new IOException(file + ": " + name + " is '" + values.get(name) + "'; " + rule + ".");
    }
}
