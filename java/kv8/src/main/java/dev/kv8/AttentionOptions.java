package dev.kv8;

import org.jspecify.annotations.Nullable;

/**
 * How attention scores are formed. The order is scale, softcap, ALiBi, mask, softmax with sinks.
 *
 * @param softmaxScale multiplies q·k, usually {@code 1 / sqrt(headSize)}
 * @param window keys that a query sees, its own included; 0 = all before it
 * @param softcap {@code s = softcap * tanh(s / softcap)}, from 2^-126 to 2^126; 0 = none
 * @param sinks float32 {@code [queryHeads]}: {@code exp(sink)} joins the denominator; or null
 * @param alibiSlopes float32 {@code [queryHeads]}: {@code slope * (key - query position)} is added; or null
 */
public record AttentionOptions(
        float softmaxScale,
        int window,
        float softcap,
        @Nullable DeviceMemory sinks,
        @Nullable DeviceMemory alibiSlopes) {

    public AttentionOptions {
        if (!Float.isFinite(softmaxScale)) {
            throw new IllegalArgumentException("softmaxScale is " + softmaxScale + "; it must be finite.");
        }
        if (window < 0) {
            throw new IllegalArgumentException("window is " + window + "; give 0 for none or a number of keys.");
        }
        if (softcap != 0 && !(softcap >= Float.MIN_NORMAL && softcap <= 0x1p126f)) {
            throw new IllegalArgumentException(
                    "softcap is " + softcap + "; give 0 for none or a number from 2^-126 to 2^126.");
        }
    }

    /** Plain causal attention with {@code 1 / sqrt(headSize)}. */
    public static AttentionOptions causal(int headSize) {
        return new AttentionOptions((float) (1 / Math.sqrt(headSize)), 0, 0, null, null);
    }

    /** The same but for the window: keys that a query sees, its own included; 0 for all. */
    public AttentionOptions withWindow(int keys) {
        return new AttentionOptions(softmaxScale, keys, softcap, sinks, alibiSlopes);
    }
}
