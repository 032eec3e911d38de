package dev.kv8.llm;

import dev.kv8.KvCache;
import dev.kv8.KvScales;
import dev.kv8.Saturation;
import java.util.Locale;

/** Tells once when more of a cache's values saturate than text unlike the calibration's explains, and what cures it. */
final class SaturationWarning {
    /** The part of a layer's K or V from which saturation is worth a word, if it is more than a few values. */
    private static final double WORTH_A_WORD = 1e-3;

    private static final int A_FEW = 32;

    private static final System.Logger LOG = System.getLogger(LLM.class.getName());

    private boolean given;

    /** Looks at a cache whose kernels have finished. */
    void check(KvCache cache, Saturation saturation) {
        int layer = saturation.worstLayer();
        long values = Math.max(saturation.k(layer), saturation.v(layer));
        if (given || values <= A_FEW || saturation.part(layer) <= WORTH_A_WORD) {
            return;
        }
        given = true;
        LOG.log(System.Logger.Level.WARNING, message(cache, saturation, layer));
    }

    private static String message(KvCache cache, Saturation saturation, int layer) {
        KvScales.LayerScales scales = cache.scales().layer(layer);
        boolean unscaled = scales.k().granularity() == KvScales.Granularity.NONE
                || scales.v().granularity() == KvScales.Granularity.NONE;
        return String.format(
                Locale.ROOT,
                "%d values were beyond what the KV cache's scales hold and were clipped, most of them in layer %d: %d of K and"
                        + " %d of V of %d each. %s",
                saturation.total(),
                layer,
                saturation.k(layer),
                saturation.v(layer),
                saturation.written(layer),
                unscaled
                        ? "There the scale is 1.0. Calibrate the model (kv8 calibrate), set calculateKvScales, or use"
                                + " dynamic scales."
                        : "Calibrate on text like this (kv8 calibrate), give the scales a margin, or use dynamic scales.");
    }
}
