package dev.kv8.cli;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.kv8.ByteSize;
import dev.kv8.DeviceInfo;
import dev.kv8.KvCacheDType;
import dev.kv8.llm.GenerationRequest;
import dev.kv8.llm.LLM;
import dev.kv8.llm.SamplingParams;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.SplittableRandom;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code kv8 bench decode}: how fast a model reads a prompt and writes one text, alone, by what the cache stores. */
@Command(
        name = "decode",
        description = {
            "Time a model's prompt and decode through the engine, one text at a time.",
            "The prompt is random tokens; then come tokens one by one, the likeliest each. A round asks for one token and"
                    + " then for all: the first time is the prompt's, the difference that of the others. The dtypes take turns."
        },
        footer = {
            "",
            "Example:",
            "  kv8 bench decode --model Llama-3.2-1B --prompt-tokens 64 --output-tokens 16 --rounds 3"
        })
final class BenchDecodeCommand extends Kv8Command {
    @Option(names = "--model", paramLabel = "DIR", required = true, description = "Hugging Face folder of a model.")
    Path model;

    @Mixin
    ComparedEngines engines;

    @Option(
            names = "--kv-cache-memory",
            paramLabel = "SIZE",
            defaultValue = "256MiB",
            converter = MemorySize.class,
            description = "Bytes for each cache (default: ${DEFAULT-VALUE}).")
    ByteSize kvCacheMemory;

    @Option(
            names = "--prompt-tokens",
            paramLabel = "N",
            defaultValue = "64",
            description = "Tokens of the prompt (default: ${DEFAULT-VALUE}).")
    int promptTokens;

    @Option(
            names = "--output-tokens",
            paramLabel = "N",
            defaultValue = "64",
            description = "Tokens that are written after the first (default: ${DEFAULT-VALUE}).")
    int outputTokens;

    @Option(
            names = "--rounds",
            paramLabel = "N",
            defaultValue = "9",
            description = "Measurements of each, of which the median counts (default: ${DEFAULT-VALUE}).")
    int rounds;

    @Option(
            names = "--seed",
            paramLabel = "N",
            defaultValue = "1",
            description = "Of the prompt (default: ${DEFAULT-VALUE}).")
    long seed;

    /** A dtype's engine, and the times of its rounds in seconds: of the prompt with a token, and of the tokens after it. */
    private static final class Run {
        final KvCacheDType dtype;
        final LLM llm;
        final double[] prompt;
        final double[] decode;

        Run(KvCacheDType dtype, LLM llm, int rounds) {
            this.dtype = dtype;
            this.llm = llm;
            prompt = new double[rounds];
            decode = new double[rounds];
        }

        double promptSeconds() {
            return new Quantiles(prompt).at(0.5);
        }

        double decodeSeconds() {
            return new Quantiles(decode).at(0.5);
        }

        double bestPromptSeconds() {
            return new Quantiles(prompt).at(0);
        }

        double bestDecodeSeconds() {
            return new Quantiles(decode).at(0);
        }
    }

    @Override
    public Integer call() throws IOException {
        checkAtLeastOne("--prompt-tokens", promptTokens);
        checkAtLeastOne("--output-tokens", outputTokens);
        checkAtLeastOne("--rounds", rounds);
        List<Run> runs = new ArrayList<>();
        try (ProgressLine progress = new ProgressLine(err(), "measure")) {
            for (KvCacheDType dtype : engines.dtypes()) {
                runs.add(new Run(dtype, fromOptions(() -> open(dtype)), rounds));
            }
            runs.forEach(run -> seconds(run.llm, 1 + outputTokens)); // compiles the code
            for (int round = 0; round < rounds; round++) {
                for (Run run : runs) {
                    run.prompt[round] = seconds(run.llm, 1);
                    run.decode[round] = seconds(run.llm, 1 + outputTokens) - run.prompt[round];
                }
                progress.update(round + 1, rounds);
            }
            report(runs.get(0).llm.cache().backend().info(), runs);
        } finally {
            runs.forEach(run -> run.llm.close());
        }
        return 0;
    }

    private LLM open(KvCacheDType dtype) {
        LLM.Builder settings =
                LLM.builder().model(model).kvCacheMemory(kvCacheMemory).prefixCaching(false);
        return ComparedEngines.open(settings, dtype);
    }

    private double seconds(LLM llm, int tokens) {
        int[] prompt = new SplittableRandom(seed)
                .ints(promptTokens, 0, llm.config().vocabularySize())
                .toArray();
        SamplingParams greedy = SamplingParams.builder()
                .temperature(0)
                .maxTokens(tokens)
                .ignoreEos(true)
                .build();
        GenerationRequest request = GenerationRequest.builder()
                .promptTokenIds(prompt)
                .sampling(greedy)
                .build();
        long start = System.nanoTime();
        fromOptions(() -> llm.submit(request)).completions().join();
        return (System.nanoTime() - start) * 1e-9;
    }

    private void report(DeviceInfo device, List<Run> runs) throws IOException {
        if (json) {
            printJson(generator -> write(generator, device, runs));
            return;
        }
        out().println(new Machine(device).line());
        out().printf(
                        Locale.ROOT,
                        "one text of %d + %d tokens; median and best of %d%n%n",
                        promptTokens,
                        1 + outputTokens,
                        rounds);
        TextTable table =
                new TextTable("kv_cache_dtype", "prompt tokens/s", "best", "decode tokens/s", "best", "ms/token");
        for (Run run : runs) {
            table.row(
                    run.dtype.label(),
                    Numbers.fixed(promptTokens / run.promptSeconds(), 1),
                    Numbers.fixed(promptTokens / run.bestPromptSeconds(), 1),
                    Numbers.fixed(outputTokens / run.decodeSeconds(), 2),
                    Numbers.fixed(outputTokens / run.bestDecodeSeconds(), 2),
                    Numbers.fixed(1e3 * run.decodeSeconds() / outputTokens, 2));
        }
        table.print(out());
    }

    private void write(JsonGenerator generator, DeviceInfo device, List<Run> runs) throws IOException {
        new Machine(device).write(generator);
        generator.writeNumberField("prompt_tokens", promptTokens);
        generator.writeNumberField("output_tokens", outputTokens);
        generator.writeArrayFieldStart("runs");
        for (Run run : runs) {
            generator.writeStartObject();
            generator.writeStringField("kv_cache_dtype", run.dtype.label());
            generator.writeNumberField("prompt_tokens_per_second", promptTokens / run.promptSeconds());
            generator.writeNumberField("prompt_tokens_per_second_best", promptTokens / run.bestPromptSeconds());
            generator.writeNumberField("decode_tokens_per_second", outputTokens / run.decodeSeconds());
            generator.writeNumberField("decode_tokens_per_second_best", outputTokens / run.bestDecodeSeconds());
            generator.writeEndObject();
        }
        generator.writeEndArray();
    }
}
