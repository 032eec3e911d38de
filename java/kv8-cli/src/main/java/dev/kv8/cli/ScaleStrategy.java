package dev.kv8.cli;

import dev.kv8.KvScales;

/** What shares a calibrated scale, in LLM Compressor's words. */
enum ScaleStrategy {
    TENSOR,
    ATTN_HEAD,
    CHANNEL,
    /** The coarsest of them that holds a budget. */
    AUTO;

    /**
     * The granularity of calibrated scales that a word stands for.
     *
     * @throws IllegalStateException for {@link #AUTO}, which stands for none yet
     */
    KvScales.Granularity granularity() {
        return switch (this) {
            case TENSOR -> KvScales.Granularity.TENSOR;
            case ATTN_HEAD -> KvScales.Granularity.HEAD;
            case CHANNEL -> KvScales.Granularity.CHANNEL;
            case AUTO -> throw new IllegalStateException("auto is still to be decided.");
        };
    }

    /** The word for a granularity of calibrated scales. */
    static ScaleStrategy of(KvScales.Granularity granularity) {
        return switch (granularity) {
            case TENSOR -> TENSOR;
            case HEAD -> ATTN_HEAD;
            case CHANNEL -> CHANNEL;
            case NONE, DYNAMIC ->
                throw new IllegalArgumentException("Scales by token are computed when a token is stored and need no"
                        + " calibration; use the model as it is, with dynamic scales.");
        };
    }
}
