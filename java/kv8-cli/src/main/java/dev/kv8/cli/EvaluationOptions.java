package dev.kv8.cli;

import dev.kv8.llm.CacheEvaluation;
import java.io.IOException;
import java.nio.charset.CharacterCodingException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import picocli.CommandLine.Option;

/** What an evaluation is about: a model, a text, and the windows over it. */
final class EvaluationOptions {
    @Option(names = "--model", paramLabel = "DIR", required = true, description = "Hugging Face folder of a model.")
    Path model;

    @Option(names = "--text", paramLabel = "FILE", required = true, description = "Text to predict, in UTF-8.")
    Path text;

    @Option(
            names = "--context",
            paramLabel = "N",
            defaultValue = "512",
            description = "Tokens of a window (default: ${DEFAULT-VALUE}).")
    int context;

    @Option(
            names = "--stride",
            paramLabel = "S",
            defaultValue = "256",
            description = "Tokens between windows; each token is scored once (default: ${DEFAULT-VALUE}).")
    int stride;

    /** An evaluation of these, still without settings. */
    CacheEvaluation.Builder evaluation() throws IOException {
        return CacheEvaluation.builder()
                .model(model)
                .text(readText(text))
                .context(context)
                .stride(stride);
    }

    static String readText(Path file) throws IOException {
        try {
            return Files.readString(file);
        } catch (CharacterCodingException e) {
            throw new IOException(file + " is not a text in UTF-8.", e);
        }
    }

    /** Checks the evaluation and runs it, with a progress bar. */
    static List<CacheEvaluation.Result> run(Kv8Command command, CacheEvaluation.Builder builder) {
        CacheEvaluation evaluation = command.fromOptions(builder::build);
        try (ProgressLine progress = new ProgressLine(command.err(), "evaluate")) {
            return evaluation.run(progress::update);
        }
    }
}
