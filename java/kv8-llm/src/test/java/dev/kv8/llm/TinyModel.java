package dev.kv8.llm;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.StreamSupport;

/** The trained tiny checkpoint and what its reference says. */
final class TinyModel {
    static final Path MODELS = Path.of(System.getProperty("kv8.models"));
    static final Path FOLDER = MODELS.resolve("tiny-llama");
    static final JsonObject REFERENCE =
            JsonParser.parseString(text("reference.json")).getAsJsonObject();

    private TinyModel() {}

    /** A prompt with its greedy continuation in float32. */
    record Prompt(JsonObject json) {
        String text() {
            return json.get("text").getAsString();
        }

        int[] tokenIds() {
            return ints("token_ids");
        }

        int[] greedyIds() {
            return ints("greedy_ids");
        }

        String greedyText() {
            return json.get("greedy_text").getAsString();
        }

        /** The smallest gap between the two largest logits on the way. */
        double minMargin() {
            return json.get("min_margin").getAsDouble();
        }

        int minMarginAt() {
            return json.get("min_margin_at").getAsInt();
        }

        int[] topIds() {
            return ints("top5_ids");
        }

        double[] topLogits() {
            return stream("top5_logits").mapToDouble(Double::doubleValue).toArray();
        }

        private int[] ints(String key) {
            return stream(key).mapToInt(Double::intValue).toArray();
        }

        private java.util.stream.Stream<Double> stream(String key) {
            JsonArray array = json.getAsJsonArray(key);
            return StreamSupport.stream(array.spliterator(), false).map(element -> element.getAsDouble());
        }
    }

    static List<Prompt> referencePrompts() {
        return StreamSupport.stream(REFERENCE.getAsJsonArray("prompts").spliterator(), false)
                .map(element -> new Prompt(element.getAsJsonObject()))
                .toList();
    }

    /** Copies the files that a model is loaded from. */
    static void copyTo(Path folder) throws IOException {
        for (String file : List.of(
                "config.json",
                "generation_config.json",
                "model.safetensors",
                "tokenizer.json",
                "tokenizer_config.json")) {
            Files.copy(FOLDER.resolve(file), folder.resolve(file));
        }
    }

    static double perplexity(String which) {
        return REFERENCE.getAsJsonObject(which).get("perplexity").getAsDouble();
    }

    static String evaluationText() {
        return text("eval.txt");
    }

    static List<String> prompts() {
        return text("prompts.txt").lines().toList();
    }

    private static String text(String file) {
        try {
            return Files.readString(FOLDER.resolve(file));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
