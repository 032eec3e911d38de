package dev.kv8.cli;

import dev.kv8.KvScales;
import dev.kv8.llm.KvScaleCalculation;
import java.util.Iterator;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** How an FP8 cache comes by scales when the checkpoint has none. */
final class ScaleCalculationOptions {
    private static final String FIRST_PASS = "first-pass";
    private static final String RANDOM_TOKENS = "random-tokens";
    private static final String VLLM = "vllm";

    @Option(
            names = "--calculate-kv-scales",
            paramLabel = "HOW",
            arity = "0..1",
            fallbackValue = FIRST_PASS,
            completionCandidates = Hows.class,
            description =
                    "Set FP8 scales from a forward pass: ${COMPLETION-CANDIDATES}, the last being the first pass with"
                            + " vLLM's constants 200 and 100 in place of the format's maximum (without HOW: first-pass).")
    @Nullable
    String how;

    @Option(
            names = "--kv-scale-margin",
            paramLabel = "M",
            description = "Room in calculated scales for later values, as a factor (default: 1).")
    @Nullable
    Double margin;

    @Option(
            names = "--kv-scale-granularity",
            paramLabel = "G",
            description = "What shares a calculated scale: tensor, head or channel (default: tensor).")
    @Nullable
    String granularity;

    /** What {@code --calculate-kv-scales} takes. */
    static final class Hows implements Iterable<String> {
        @Override
        public Iterator<String> iterator() {
            return List.of(FIRST_PASS, RANDOM_TOKENS, VLLM).iterator();
        }
    }

    /**
     * Null when nothing is to be calculated.
     *
     * @throws IllegalArgumentException saying what is allowed
     */
    @Nullable
    KvScaleCalculation calculation() {
        if (how == null) {
            if (margin != null || granularity != null) {
                throw new IllegalArgumentException((margin != null ? "--kv-scale-margin" : "--kv-scale-granularity")
                        + " is for calculated scales; give --calculate-kv-scales with it.");
            }
            return null;
        }
        KvScaleCalculation source = switch (how) {
            case FIRST_PASS -> KvScaleCalculation.firstPass();
            case RANDOM_TOKENS -> KvScaleCalculation.randomTokens();
            case VLLM -> KvScaleCalculation.firstPass().withVllmConstants();
            default ->
                throw new IllegalArgumentException("--calculate-kv-scales is \"" + how + "\"; give " + FIRST_PASS + ", "
                        + RANDOM_TOKENS + " or " + VLLM + ".");
        };
        return source.withGranularity(shared()).withMargin(margin == null ? 1 : margin);
    }

    private KvScales.Granularity shared() {
        if (granularity == null) {
            return KvScales.Granularity.TENSOR;
        }
        return switch (granularity) {
            case "tensor", "head", "channel" -> KvScales.Granularity.valueOf(granularity.toUpperCase(Locale.ROOT));
            default ->
                throw new IllegalArgumentException(
                        "--kv-scale-granularity is \"" + granularity + "\"; give tensor, head or channel.");
        };
    }
}
