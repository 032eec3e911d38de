package dev.kv8.llm;

import dev.kv8.KvScales;
import java.util.List;
import java.util.Locale;
import java.util.OptionalDouble;
import java.util.Set;

/**
 * How a KV cache is quantized, as compressed-tensors' {@code kv_cache_scheme} says it: 8-bit float (E4M3), symmetric, with
 * scales of one granularity.
 *
 * @param granularity {@code TENSOR}, {@code HEAD} or {@code CHANNEL} for static scales; {@code DYNAMIC} for scales computed
 *     at each write, which need no calibration
 * @param observerName how static scales are found, in LLM Compressor's words; empty for dynamic ones
 * @param percentile of magnitudes that the scale covers, for the percentile observer only
 */
public record KvCacheScheme(KvScales.Granularity granularity, String observerName, OptionalDouble percentile) {
    /** What an observer takes a static scale from. */
    public enum Observer {
        /** The largest magnitude of all samples. */
        MINMAX,
        /** The magnitude below which a percentage of all lie. */
        PERCENTILE,
        /** The scale with the smallest squared error. */
        MSE
    }

    /** compressed-tensors' own default. */
    static final String DEFAULT_OBSERVER = "memoryless_minmax";

    private static final double DEFAULT_PERCENTILE = 99.9;

    private static final String ALLOWED_OBSERVERS =
            "minmax, static_minmax, memoryless_minmax, percentile, mse or memoryless_mse";

    private static final String PERCENTILES = "more than 50 and at most 100";

    private static final Set<String> FIELDS =
            Set.of("num_bits", "type", "symmetric", "strategy", "dynamic", "observer", "observer_kwargs");

    public KvCacheScheme {
        if (granularity == KvScales.Granularity.NONE) {
            throw new IllegalArgumentException(
                    "A scheme has scales: TENSOR, HEAD, CHANNEL or DYNAMIC, not " + granularity + ".");
        }
        boolean dynamic = granularity == KvScales.Granularity.DYNAMIC;
        if (dynamic != observerName.isEmpty()) {
            throw new IllegalArgumentException("The observer is \"" + observerName + "\" and the granularity "
                    + granularity + "; static scales have an observer, dynamic ones have none.");
        }
        boolean cut = !dynamic && observerOf(observerName) == Observer.PERCENTILE;
        if (cut != percentile.isPresent()) {
            throw new IllegalArgumentException("The observer is \"" + observerName + "\" and the percentile "
                    + percentile + "; only the percentile observer has one.");
        }
        percentile.ifPresent(KvCacheScheme::checkPercentile);
    }

    /** Static scales. */
    public static KvCacheScheme of(KvScales.Granularity granularity, Observer observer) {
        return switch (observer) {
            case MINMAX -> new KvCacheScheme(granularity, DEFAULT_OBSERVER, OptionalDouble.empty());
            case MSE -> new KvCacheScheme(granularity, "mse", OptionalDouble.empty());
            case PERCENTILE -> percentile(granularity, DEFAULT_PERCENTILE);
        };
    }

    /** Static scales that cover {@code percentile} percent of all magnitudes: more than 50, at most 100. */
    public static KvCacheScheme percentile(KvScales.Granularity granularity, double percentile) {
        return new KvCacheScheme(granularity, "percentile", OptionalDouble.of(percentile));
    }

    /** Scales computed at each write, by token and head. */
    public static KvCacheScheme dynamic() {
        return new KvCacheScheme(KvScales.Granularity.DYNAMIC, "", OptionalDouble.empty());
    }

    /**
     * What finds the static scales. kv8 looks at all samples at once, so LLM Compressor's three min-max observers, which
     * differ in what they remember from batch to batch, are one here, and so are its two of MSE.
     *
     * @throws IllegalStateException when scales are dynamic
     */
    public Observer observer() {
        if (!needsCalibration()) {
            throw new IllegalStateException("Dynamic scales have no observer.");
        }
        return observerOf(observerName);
    }

    /** False when scales are computed at each write. */
    public boolean needsCalibration() {
        return granularity != KvScales.Granularity.DYNAMIC;
    }

    /** compressed-tensors' word for the granularity. */
    public String strategy() {
        return switch (granularity) {
            case TENSOR -> "tensor";
            case HEAD -> "attn_head";
            case CHANNEL -> "channel";
            case DYNAMIC, NONE -> "token";
        };
    }

    /** The granularity that a {@code kv_cache_scheme} asks for; refuses by name what kv8's cache can't do. */
    static KvScales.Granularity granularityOf(JsonObject scheme) {
        int bits = scheme.integer("num_bits").orElse(8);
        if (bits != 8) {
            throw scheme.wrong("num_bits", bits, "8: kv8 stores keys and values in 8-bit floats");
        }
        String type = scheme.text("type").orElse("int").toLowerCase(Locale.ROOT);
        if (!type.equals("float")) {
            throw scheme.wrong("type", type + (scheme.has("type") ? "" : " when it is left out"), "float");
        }
        if (!scheme.flag("symmetric").orElse(true)) {
            throw scheme.wrong("symmetric", false, "true: a cache in floats has no zero points");
        }
        for (String key : List.of("group_size", "block_structure")) {
            if (scheme.has(key)) {
                throw scheme.refused(key, "is not for KV scales: they go by tensor, attn_head or channel");
            }
        }
        String strategy = scheme.text("strategy").orElse("tensor").toLowerCase(Locale.ROOT);
        boolean dynamic = scheme.flag("dynamic").orElse(false);
        if (dynamic && !strategy.equals("token")) {
            throw scheme.wrong(
                    "strategy", strategy, "token with dynamic true: kv8 computes dynamic scales by token and head");
        }
        if (!dynamic && strategy.equals("token")) {
            throw scheme.wrong(
                    "dynamic", false, "true with strategy token: a token's scales are known only when it is stored");
        }
        return switch (strategy) {
            case "tensor" -> KvScales.Granularity.TENSOR;
            case "attn_head" -> KvScales.Granularity.HEAD;
            case "channel" -> KvScales.Granularity.CHANNEL;
            case "token" -> KvScales.Granularity.DYNAMIC;
            default ->
                throw scheme.wrong("strategy", strategy, "tensor, attn_head, channel, or token with dynamic true");
        };
    }

    /** A recipe's scheme; refuses whatever would change the result and is not followed here. */
    static KvCacheScheme ofRecipe(JsonObject scheme) {
        for (String key : scheme.keys()) {
            if (!FIELDS.contains(key) && !key.equals("group_size") && !key.equals("block_structure")) {
                throw scheme.refused(
                        key,
                        "is not known for a KV cache; known are "
                                + String.join(", ", FIELDS.stream().sorted().toList()));
            }
        }
        KvScales.Granularity granularity = granularityOf(scheme);
        if (granularity == KvScales.Granularity.DYNAMIC) {
            for (String key : List.of("observer", "observer_kwargs")) {
                if (scheme.has(key)) {
                    throw scheme.refused(
                            key,
                            "finds static scales, but dynamic is true; leave out one of them (dynamic scales need no"
                                    + " calibration)");
                }
            }
            return dynamic();
        }
        return observed(granularity, scheme);
    }

    private static KvCacheScheme observed(KvScales.Granularity granularity, JsonObject scheme) {
        String name = scheme.text("observer").orElse(DEFAULT_OBSERVER).toLowerCase(Locale.ROOT);
        Observer observer;
        try {
            observer = observerOf(name);
        } catch (IllegalArgumentException e) {
            throw new CheckpointException(
                    String.valueOf(
                            scheme.wrong("observer", name, ALLOWED_OBSERVERS).getMessage()),
                    e);
        }
        OptionalDouble percentile = OptionalDouble.empty();
        if (scheme.has("observer_kwargs")) {
            JsonObject options = scheme.requireObject("observer_kwargs");
            percentile = options.number("percentile");
            for (String key : options.keys()) {
                if (observer != Observer.PERCENTILE || !key.equals("percentile")) {
                    throw options.refused(
                            key,
                            "is not an option of kv8's " + name + "; only the percentile observer has one, percentile");
                }
            }
            if (percentile.isPresent() && !isPercentile(percentile.getAsDouble())) {
                throw options.wrong("percentile", percentile.getAsDouble(), PERCENTILES);
            }
        }
        if (observer == Observer.PERCENTILE) {
            percentile = OptionalDouble.of(percentile.orElse(DEFAULT_PERCENTILE));
        }
        return new KvCacheScheme(granularity, name, percentile);
    }

    private static Observer observerOf(String name) {
        return switch (name) {
            case "minmax", "static_minmax", "memoryless_minmax" -> Observer.MINMAX;
            case "mse", "memoryless_mse" -> Observer.MSE;
            case "percentile" -> Observer.PERCENTILE;
            default ->
                throw new IllegalArgumentException(
                        "The observer is \"" + name + "\"; it must be " + ALLOWED_OBSERVERS + ".");
        };
    }

    private static boolean isPercentile(double value) {
        return value > 50 && value <= 100;
    }

    private static void checkPercentile(double value) {
        if (!isPercentile(value)) {
            throw new IllegalArgumentException("The percentile is " + value + "; it must be " + PERCENTILES + ".");
        }
    }
}
