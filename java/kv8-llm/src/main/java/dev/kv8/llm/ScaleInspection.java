package dev.kv8.llm;

import dev.kv8.Fp8Format;
import dev.kv8.KvScales;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * What a checkpoint says about the scales of an FP8 (E4M3) cache.
 *
 * @param model its shape
 * @param scheme {@code kv_cache_scheme} of config.json in a few words; empty when there is none
 * @param scales those stored; empty when there are none, or they can't be used
 * @param skippedLayers that config.json leaves in the model's own type
 * @param fault why stored scales can't be used; empty when there is no fault
 */
public record ScaleInspection(
        ModelConfig model,
        Optional<String> scheme,
        Optional<KvScales> scales,
        Set<Integer> skippedLayers,
        Optional<String> fault) {
    /** K or V. */
    public enum Side {
        K,
        V
    }

    /**
     * A head's scales, and how its values fit.
     *
     * @param smallestScale over its channels; 1.0, with which FP8 is stored, where the checkpoint has no scales
     * @param largestScale over its channels
     * @param dynamic whether scales are computed at each write instead, so that nothing saturates
     * @param amax the largest observed magnitude; NaN when nothing was observed
     * @param used the largest part of a channel's range, {@code 448 * scale}, that its observed magnitudes reach: more than 1
     *     saturates; NaN when nothing was observed or scales are dynamic
     */
    public record HeadRange(
            int layer,
            Side side,
            int head,
            float smallestScale,
            float largestScale,
            boolean dynamic,
            float amax,
            float used) {
        /** Whether observed values are beyond what the scale holds. */
        public boolean saturates() {
            return used > 1 + 1e-6f;
        }
    }

    /**
     * Reads a model folder.
     *
     * @throws CheckpointException when config.json can't be used; weights or scales that can't be used are a {@link #fault}
     *     instead
     */
    public static ScaleInspection read(Path folder) {
        ModelConfig model = ModelConfig.read(folder);
        Optional<String> scheme = scheme(JsonObject.read(folder.resolve("config.json")));
        try (Checkpoint checkpoint = Checkpoint.open(folder)) {
            Optional<CheckpointScales.Found> found = CheckpointScales.read(checkpoint, model);
            return new ScaleInspection(
                    model,
                    scheme,
                    found.map(CheckpointScales.Found::scales),
                    found.map(CheckpointScales.Found::skippedLayers).orElse(Set.of()),
                    Optional.empty());
        } catch (CheckpointException e) {
            return new ScaleInspection(
                    model, scheme, Optional.empty(), Set.of(), Optional.of(String.valueOf(e.getMessage())));
        }
    }

    private static Optional<String> scheme(JsonObject config) {
        return config.object("quantization_config")
                .flatMap(quantization -> quantization.object("kv_cache_scheme"))
                .map(scheme -> "strategy " + scheme.text("strategy").orElse("tensor") + ", "
                        + scheme.integer("num_bits").orElse(8) + "-bit "
                        + scheme.text("type").orElse("float")
                        + (scheme.flag("dynamic").orElse(false) ? ", dynamic" : ", static"));
    }

    /**
     * Every head of K and V of every layer that is not skipped, in that order.
     *
     * @param observed what a text brings about, or null
     */
    public List<HeadRange> heads(@Nullable ObservedRanges observed) {
        KvScales known = scales.orElse(KvScales.none(model.layers()));
        List<HeadRange> heads = new ArrayList<>();
        for (int layer = 0; layer < model.layers(); layer++) {
            if (skippedLayers.contains(layer)) {
                continue;
            }
            for (Side side : Side.values()) {
                KvScales.Side stored = side == Side.K
                        ? known.layer(layer).k()
                        : known.layer(layer).v();
                for (int head = 0; head < model.kvHeads(); head++) {
                    heads.add(range(layer, side, head, stored, observed));
                }
            }
        }
        return heads;
    }

    private HeadRange range(int layer, Side side, int head, KvScales.Side scales, @Nullable ObservedRanges observed) {
        boolean dynamic = scales.granularity() == KvScales.Granularity.DYNAMIC;
        float smallest = Float.POSITIVE_INFINITY;
        float largest = 0;
        float amax = observed == null ? Float.NaN : 0;
        float used = observed == null || dynamic ? Float.NaN : 0;
        for (int channel = 0; channel < model.headSize(); channel++) {
            float scale = scales.at(head, channel, model.headSize());
            smallest = Math.min(smallest, scale);
            largest = Math.max(largest, scale);
            if (observed != null) {
                float magnitude = side == Side.K ? observed.k(layer, head, channel) : observed.v(layer, head, channel);
                amax = Math.max(amax, magnitude);
                used = Math.max(used, magnitude / (scale * Fp8Format.E4M3FN.maxValue()));
            }
        }
        return new HeadRange(layer, side, head, smallest, largest, dynamic, amax, used);
    }
}
