package dev.kv8.llm;

import dev.kv8.Fp8Format;

/**
 * How scales follow from magnitudes.
 *
 * @param margin multiplies every scale; at least 1
 */
record CalibrationRules(Fp8Format format, ScaleRule k, ScaleRule v, double margin) {
    ScaleRule of(KvSide side) {
        return side == KvSide.K ? k : v;
    }

    ScaleSearch search(KvSide side) {
        return new ScaleSearch(of(side), format, margin);
    }
}
