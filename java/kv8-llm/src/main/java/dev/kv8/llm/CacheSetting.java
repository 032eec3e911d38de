package dev.kv8.llm;

import dev.kv8.KvCacheDType;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.TreeSet;

/**
 * A cache to evaluate.
 *
 * @param label names it in tables
 * @param kDtype what K is stored in
 * @param vDtype what V is stored in
 * @param scales of FP8 sides; {@link ScaleMode#NONE} when no side is FP8, whatever was given
 * @param skippedLayers kept in the model's own type, ascending
 */
public record CacheSetting(
        String label, KvCacheDType kDtype, KvCacheDType vDtype, ScaleSource scales, List<Integer> skippedLayers) {
    public CacheSetting {
        scales = kDtype.isFp8() || vDtype.isFp8() ? scales : ScaleMode.NONE;
        skippedLayers = List.copyOf(new TreeSet<>(skippedLayers));
    }

    /** K and V alike, in all layers, labelled by dtype and scales. */
    public static CacheSetting of(KvCacheDType dtype, ScaleSource scales) {
        return of(dtype, dtype, scales);
    }

    /** K and V apart, in all layers, labelled by dtypes and scales. */
    public static CacheSetting of(KvCacheDType kDtype, KvCacheDType vDtype, ScaleSource scales) {
        CacheSetting setting = new CacheSetting("", kDtype, vDtype, scales, List.of());
        return setting.withLabel(setting.isFp8() ? setting.dtypeLabel() + " " + scales.label() : setting.dtypeLabel());
    }

    /** Another name for the same cache. */
    public CacheSetting withLabel(String name) {
        return new CacheSetting(name, kDtype, vDtype, scales, skippedLayers);
    }

    /** The same cache with other scales, relabelled by dtypes and scales. */
    public CacheSetting withScales(ScaleSource source) {
        return of(kDtype, vDtype, source).withSkippedLayers(skippedLayers);
    }

    /** The same cache with exactly these layers in the model's own type; the label stays. */
    public CacheSetting withSkippedLayers(List<Integer> layers) {
        return new CacheSetting(label, kDtype, vDtype, scales, layers);
    }

    /** Whether any side is FP8. */
    public boolean isFp8() {
        return kDtype.isFp8() || vDtype.isFp8();
    }

    /** One name for both sides, or {@code k:v} where they differ. */
    public String dtypeLabel() {
        return kDtype == vDtype ? kDtype.label() : kDtype.label() + ":" + vDtype.label();
    }

    /** Reads what {@link #dtypeLabel} gives: one dtype for both sides, or {@code k:v}; still without scales. */
    public static CacheSetting parse(String dtypes) {
        List<KvCacheDType> sides = new ArrayList<>();
        Arrays.stream(dtypes.split(":", -1)).map(KvCacheDType::parse).forEach(sides::add);
        if (sides.size() > 2) {
            throw new IllegalArgumentException("\"" + dtypes + "\" names " + sides.size()
                    + " dtypes; give one for K and V, or K's and V's as k:v.");
        }
        return of(sides.get(0), sides.get(sides.size() - 1), ScaleMode.NONE);
    }
}
