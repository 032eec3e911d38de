package dev.kv8.llm;

import java.util.Arrays;
import java.util.Locale;
import java.util.stream.Collectors;

/** Where {@link CacheEvaluation} takes the scales of an FP8 cache from. */
public enum ScaleMode implements ScaleSource {
    /** 1.0. */
    NONE,
    /** One for K and one for V of each layer, from the magnitudes of the calibrated part of the text. */
    TENSOR,
    /** One for each head, from the magnitudes of the calibrated part of the text. */
    HEAD,
    /** One for each channel of each head, from the magnitudes of the calibrated part of the text. */
    CHANNEL,
    /** One for each token and head, computed when it is stored. */
    DYNAMIC,
    /** One for K and one for V of each layer, from a window of random tokens: {@link KvScaleCalculation#randomTokens}. */
    RANDOM_TOKENS,
    /** As {@link #TENSOR} with vLLM's constants: {@link KvScaleCalculation#withVllmConstants}. */
    VLLM,
    /** Those that the checkpoint carries. */
    CHECKPOINT;

    /** Reads a lower-case name; {@link IllegalArgumentException} names the allowed ones. */
    public static ScaleMode parse(String name) {
        for (ScaleMode mode : values()) {
            if (mode.label().equals(name.strip().toLowerCase(Locale.ROOT))) {
                return mode;
            }
        }
        throw new IllegalArgumentException("\"" + name + "\" is not a way to scale; the allowed ones are "
                + Arrays.stream(values()).map(ScaleMode::label).collect(Collectors.joining(", ")) + ".");
    }

    /** The lower-case name that {@link #parse} takes. */
    @Override
    public String label() {
        return name().toLowerCase(Locale.ROOT).replace('_', '-');
    }
}
