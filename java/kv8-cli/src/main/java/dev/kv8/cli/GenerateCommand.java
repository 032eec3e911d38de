package dev.kv8.cli;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.kv8.llm.Completion;
import dev.kv8.llm.Generation;
import dev.kv8.llm.GenerationRequest;
import dev.kv8.llm.GenerationStats;
import dev.kv8.llm.LLM;
import dev.kv8.llm.SamplingParams;
import dev.kv8.llm.TokenLogprobs;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code kv8 generate}: text from a model, all prompts in one batch. */
@Command(
        name = "generate",
        description = "Continue one or more prompts with a Llama-family model from a Hugging Face folder.",
        footer = {
            "",
            "Example:",
            "  kv8 generate --model tiny-llama --prompt 'In the beginning' --max-tokens 32 --temperature 0 \\",
            "      --kv-cache-dtype fp8 --calculate-kv-scales"
        })
final class GenerateCommand extends Kv8Command {
    @Mixin
    EngineOptions engine = new EngineOptions();

    @Option(names = "--prompt", paramLabel = "TEXT", required = true, description = "Text to continue; repeatable.")
    List<String> prompts = new ArrayList<>();

    @Option(
            names = "--max-tokens",
            paramLabel = "N",
            defaultValue = "128",
            description = "Tokens to generate for each prompt at most (default: ${DEFAULT-VALUE}).")
    int maxTokens;

    @Option(
            names = "--temperature",
            paramLabel = "T",
            defaultValue = "1",
            description = "0 takes the likeliest token, more is more random (default: ${DEFAULT-VALUE}).")
    double temperature;

    @Option(
            names = "--top-p",
            paramLabel = "P",
            defaultValue = "1",
            description = "Sample from the likeliest tokens that together have this probability (default: all).")
    double topP;

    @Option(
            names = "--top-k",
            paramLabel = "K",
            defaultValue = "0",
            description = "Sample from the K likeliest tokens (default: 0, all).")
    int topK;

    @Option(
            names = "--min-p",
            paramLabel = "P",
            defaultValue = "0",
            description = "Sample from tokens at least this part as likely as the likeliest (default: 0, all).")
    double minP;

    @Option(
            names = "--repetition-penalty",
            paramLabel = "R",
            defaultValue = "1",
            description = "More than 1 makes tokens of prompt and text less likely to come again (default: 1).")
    double repetitionPenalty;

    @Option(
            names = "--presence-penalty",
            paramLabel = "R",
            defaultValue = "0",
            description = "Taken from the logit of each token that the text has already (default: 0).")
    double presencePenalty;

    @Option(
            names = "--frequency-penalty",
            paramLabel = "R",
            defaultValue = "0",
            description = "Taken from it once for each time that the text has it (default: 0).")
    double frequencyPenalty;

    @Option(
            names = {"-n", "--n"},
            paramLabel = "N",
            defaultValue = "1",
            description = "Texts for each prompt, which is computed once for all (default: 1).")
    int n;

    @Option(
            names = "--logprobs",
            paramLabel = "K",
            description = "With --json: log probabilities of each token and of the K likeliest, 0 to 20.")
    @Nullable
    Integer logprobs;

    @Option(names = "--stream", description = "Print the text while it is written; for one prompt and one text.")
    boolean stream;

    @Option(names = "--seed", paramLabel = "N", description = "Makes sampling repeatable.")
    @Nullable
    Long seed;

    @Option(names = "--stop", paramLabel = "TEXT", description = "Ends a text where this appears; repeatable.")
    List<String> stops = new ArrayList<>();

    @Option(names = "--ignore-eos", description = "Go on after the model's end of text.")
    boolean ignoreEos;

    @Override
    public Integer call() throws IOException {
        SamplingParams params = fromOptions(this::samplingParams);
        if (stream && (json || prompts.size() > 1 || n > 1)) {
            throw wrongUsage("--stream prints one text while it is written; give one --prompt, -n 1 and no --json.");
        }
        if (logprobs != null && !json) {
            throw wrongUsage("--logprobs are part of the JSON result; give --json too.");
        }
        try (LLM llm = fromOptions(engine::builder).build()) {
            if (stream) {
                printStream(llm, params);
                return 0;
            }
            List<Completion> completions = llm.generate(prompts, params);
            GenerationStats stats = llm.lastStats();
            if (json) {
                printJson(generator -> writeCompletions(generator, completions, stats));
            } else {
                for (Completion completion : completions) {
                    out().println(completion.prompt() + completion.text());
                    out().println();
                }
                printSpeed(llm, stats.tokens(), stats.seconds());
            }
        }
        return 0;
    }

    private void printStream(LLM llm, SamplingParams params) {
        long begin = System.nanoTime();
        Generation generation = llm.submit(GenerationRequest.of(prompts.get(0), params));
        out().print(prompts.get(0));
        PrintedChunks printed = new PrintedChunks(out());
        generation.chunks().subscribe(printed);
        printed.await();
        int tokens = generation.completions().join().get(0).tokenIds().length;
        printSpeed(llm, tokens, (System.nanoTime() - begin) / 1e9);
    }

    private void printSpeed(LLM llm, int tokens, double seconds) {
        err().printf(
                        Locale.ROOT,
                        "%d tokens in %.2f s, %.1f tokens/s; cache %s, %s bytes per token%n",
                        tokens,
                        seconds,
                        seconds > 0 ? tokens / seconds : 0,
                        engine.stored.dtypeLabel(),
                        Numbers.plain(llm.cache().config().bytesPerToken()));
    }

    private SamplingParams samplingParams() {
        SamplingParams.Builder params = SamplingParams.builder()
                .temperature(temperature)
                .topP(topP)
                .topK(topK)
                .minP(minP)
                .repetitionPenalty(repetitionPenalty)
                .presencePenalty(presencePenalty)
                .frequencyPenalty(frequencyPenalty)
                .n(n)
                .maxTokens(maxTokens)
                .stop(stops.toArray(String[]::new))
                .ignoreEos(ignoreEos);
        if (seed != null) {
            params.seed(seed);
        }
        if (logprobs != null) {
            params.logprobs(logprobs);
        }
        return params.build();
    }

    private static void writeCompletions(JsonGenerator generator, List<Completion> completions, GenerationStats stats)
            throws IOException {
        generator.writeArrayFieldStart("outputs");
        for (Completion completion : completions) {
            generator.writeStartObject();
            generator.writeStringField("prompt", completion.prompt());
            generator.writeNumberField("index", completion.index());
            generator.writeStringField("text", completion.text());
            generator.writeFieldName("token_ids");
            int[] ids = completion.tokenIds();
            generator.writeArray(ids, 0, ids.length);
            generator.writeNumberField("cached_tokens", completion.cachedTokens());
            generator.writeStringField(
                    "finish_reason", completion.finishReason().name().toLowerCase(Locale.ROOT));
            if (!completion.logprobs().isEmpty()) {
                writeLogprobs(generator, completion.logprobs());
            }
            generator.writeEndObject();
        }
        generator.writeEndArray();
        generator.writeNumberField("tokens", stats.tokens());
        writeNumber(generator, "seconds", stats.seconds());
        writeNumber(generator, "tokens_per_second", stats.tokensPerSecond());
        generator.writeNumberField("saturated_values", stats.saturatedValues());
    }

    private static void writeLogprobs(JsonGenerator generator, List<TokenLogprobs> logprobs) throws IOException {
        generator.writeArrayFieldStart("logprobs");
        for (TokenLogprobs token : logprobs) {
            generator.writeStartObject();
            writeLogprob(generator, token.tokenId(), token.text(), token.logprob());
            generator.writeArrayFieldStart("top");
            for (TokenLogprobs.Alternative other : token.top()) {
                generator.writeStartObject();
                writeLogprob(generator, other.tokenId(), other.text(), other.logprob());
                generator.writeEndObject();
            }
            generator.writeEndArray();
            generator.writeEndObject();
        }
        generator.writeEndArray();
    }

    private static void writeLogprob(JsonGenerator generator, int id, String text, double logprob) throws IOException {
        generator.writeNumberField("token_id", id);
        generator.writeStringField("token", text);
        writeNumber(generator, "logprob", logprob);
    }
}
