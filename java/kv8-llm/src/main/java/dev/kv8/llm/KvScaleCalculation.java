package dev.kv8.llm;

import dev.kv8.Fp8Format;
import dev.kv8.KvScales;

/**
 * How an FP8 cache comes by its scales without calibration ({@code calculate_kv_scales}): from which tokens' largest
 * magnitudes, shared by what, and by which rule.
 *
 * <p>One pass sees less than calibration does, so later values may lie beyond the range. They saturate and are counted ({@link
 * dev.kv8.KvCache#saturation}); a margin makes room for them at the cost of as much precision near zero, where FP8 has plenty.
 *
 * @param source whose magnitudes
 * @param rule the scale that follows from a magnitude
 * @param granularity tensor, head or channel
 * @param margin by how much a later magnitude may exceed the largest one seen: 1 or more; 1 with {@link Rule#VLLM_CONSTANTS}
 */
public record KvScaleCalculation(Source source, Rule rule, KvScales.Granularity granularity, double margin) {
    /** Whose magnitudes the scales come from. */
    public enum Source {
        /** The first tokens to be stored: the first forward pass of the first call. What vLLM's calculate_kv_scales does. */
        FIRST_PASS,
        /** A forward pass over random tokens when the model is loaded, so that no request decides over the next ones. */
        RANDOM_TOKENS
    }

    /** The scale that follows from the largest magnitude, {@code amax}. */
    public enum Rule {
        /** {@code margin * amax / the format's largest value}. */
        AMAX,
        /**
         * vLLM's {@code K_SCALE_CONSTANT} and {@code V_SCALE_CONSTANT}: {@code amax / 200} for K and {@code amax / 100} for V,
         * which leave unused more than half of E4M3's range and most of E5M2's. For comparison.
         */
        VLLM_CONSTANTS
    }

    private static final float VLLM_K = 200;
    private static final float VLLM_V = 100;

    /** @throws IllegalArgumentException when granularity, margin and rule do not go together */
    public KvScaleCalculation {
        boolean observed = switch (granularity) {
            case TENSOR, HEAD, CHANNEL -> true;
            case NONE, DYNAMIC -> false;
        };
        if (!observed) {
            throw new IllegalArgumentException("granularity is " + granularity
                    + ", which is not calculated from a pass; give TENSOR, HEAD or CHANNEL. For DYNAMIC scales give"
                    + " kvScales(KvScales.dynamic(layers)).");
        }
        if (!(margin >= 1 && margin <= 1000)) {
            throw new IllegalArgumentException(
                    "margin is " + margin + "; give 1 (none) or more, up to 1000, for instance 1.25.");
        }
        if (rule == Rule.VLLM_CONSTANTS && margin != 1) {
            throw new IllegalArgumentException(
                    "margin is " + margin + ", but vLLM's constants are a margin of their own; give only one of them.");
        }
    }

    /** Per tensor from the first pass, without margin. */
    public static KvScaleCalculation firstPass() {
        return new KvScaleCalculation(Source.FIRST_PASS, Rule.AMAX, KvScales.Granularity.TENSOR, 1);
    }

    /** Per tensor from a pass over random tokens, without margin. */
    public static KvScaleCalculation randomTokens() {
        return new KvScaleCalculation(Source.RANDOM_TOKENS, Rule.AMAX, KvScales.Granularity.TENSOR, 1);
    }

    public KvScaleCalculation withGranularity(KvScales.Granularity shared) {
        return new KvScaleCalculation(source, rule, shared, margin);
    }

    public KvScaleCalculation withMargin(double factor) {
        return new KvScaleCalculation(source, rule, granularity, factor);
    }

    public KvScaleCalculation withVllmConstants() {
        return new KvScaleCalculation(source, Rule.VLLM_CONSTANTS, granularity, 1);
    }

    float kScale(float amax, Fp8Format format) {
        return scale(amax, format, VLLM_K);
    }

    float vScale(float amax, Fp8Format format) {
        return scale(amax, format, VLLM_V);
    }

    private float scale(float amax, Fp8Format format, float vllm) {
        if (rule == Rule.VLLM_CONSTANTS) {
            return amax == 0 ? 1 : Math.max(amax / vllm, Float.MIN_NORMAL);
        }
        return KvScales.scaleFor((float) (amax * margin), format);
    }
}
