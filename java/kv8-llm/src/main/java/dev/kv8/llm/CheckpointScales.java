package dev.kv8.llm;

import dev.kv8.KvScales;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * The KV scales that a checkpoint carries: of shape {@code []} or {@code [1]} for a tensor, {@code [heads]} or {@code
 * [heads, 1, 1]} by head, {@code [heads, 1, head_size]} by channel, in F32, BF16 or F16, under these names after {@code
 * model.layers.N.self_attn.}:
 *
 * <table>
 *   <caption>Names</caption>
 *   <tr><td>{@code k_scale}, {@code v_scale}</td><td>compressed-tensors (LLM Compressor, kv8)</td></tr>
 *   <tr><td>{@code attn.k_scale}</td><td>vLLM's own name</td></tr>
 *   <tr><td>{@code k_proj.k_scale}, {@code qkv_proj.k_scale}</td><td>ModelOpt</td></tr>
 *   <tr><td>{@code k_proj.output_scale}</td><td>Quark, early compressed-tensors</td></tr>
 *   <tr><td>{@code kv_scale}, {@code attn.kv_scale}</td><td>early vLLM: one for both</td></tr>
 * </table>
 *
 * <p>Scales that vLLM uses for queries and probabilities ({@code q_scale}, {@code prob_output_scale}) are not for the cache
 * and not looked at.
 *
 * <p>All of them are scales for E4M3FN, Quark's too: its {@code fp8_e4m3} is that format, and vLLM doubles its scales, like
 * all others, where a device stores E4M3FNUZ. So does kv8, when it stores; what is read here is never changed.
 */
public final class CheckpointScales {
    private final Checkpoint checkpoint;
    private final ModelConfig config;
    private final KvScales.@Nullable Granularity granularity;
    private final Set<Integer> skippedLayers;
    private final List<String> faults = new ArrayList<>();

    private CheckpointScales(
            Checkpoint checkpoint,
            ModelConfig config,
            KvScales.@Nullable Granularity granularity,
            Set<Integer> skippedLayers) {
        this.checkpoint = checkpoint;
        this.config = config;
        this.granularity = granularity;
        this.skippedLayers = skippedLayers;
    }

    /**
     * What a checkpoint says about its cache.
     *
     * @param scales 1.0 for skipped layers
     * @param skippedLayers whose keys and values stay in the model's own type, ascending; a cache with these scales must skip
     *     them
     */
    public record Found(KvScales scales, Set<Integer> skippedLayers) {
        /** The skipped layers as {@link dev.kv8.KvCacheConfig.Builder#skipLayers} takes them. */
        public int[] skipLayers() {
            return skippedLayers.stream().mapToInt(Integer::intValue).toArray();
        }
    }

    /**
     * Reads the scales of a model folder.
     *
     * @return empty when there are none and config.json asks for none
     * @throws CheckpointException naming every layer whose scales are missing, too many, or not usable; or the key of a scheme
     *     that kv8's cache can't use
     */
    public static Optional<Found> read(Path folder) {
        ModelConfig config = ModelConfig.read(folder);
        try (Checkpoint checkpoint = Checkpoint.open(folder)) {
            return read(checkpoint, config);
        }
    }

    static Optional<Found> read(Checkpoint checkpoint, ModelConfig config) {
        Optional<QuantizationConfig> quantization = QuantizationConfig.read(checkpoint.folder());
        Optional<KvScales.Granularity> granularity = quantization.flatMap(QuantizationConfig::cacheGranularity);
        Set<Integer> skipped =
                granularity.isPresent() ? quantization.orElseThrow().skippedLayers(config.layers()) : Set.of();
        boolean any = checkpoint.names().stream().anyMatch(LayerNames::isScale);
        if (granularity.isEmpty() && !any) {
            return Optional.empty();
        }
        CheckpointScales scales = new CheckpointScales(checkpoint, config, granularity.orElse(null), skipped);
        return Optional.of(new Found(scales.read(any), skipped));
    }

    private KvScales read(boolean any) {
        KvScales.Builder builder = KvScales.builder(config.layers(), config.kvHeads(), config.headSize());
        boolean dynamic = granularity == KvScales.Granularity.DYNAMIC;
        if (!any && !dynamic && skippedLayers.size() < config.layers()) {
            faults.add("all are missing, though its quantization_config asks for static ones");
        }
        for (int layer = 0; layer < config.layers(); layer++) {
            LayerNames names = new LayerNames(layer);
            if (skippedLayers.contains(layer)) {
                refuse(names, "its quantization_config leaves layer " + layer + " in 16 bits");
            } else if (dynamic) {
                refuse(names, "its kv_cache_scheme says dynamic true");
                builder.layer(layer, KvScales.LayerScales.DYNAMIC);
            } else if (any) {
                layer(layer, names, builder);
            }
        }
        refuseLayersBeyond();
        if (!faults.isEmpty()) {
            throw new CheckpointException(checkpoint.folder() + " has KV scales that can't be used:\n  "
                    + String.join("\n  ", faults)
                    + "\nCalibrate the checkpoint anew, or let kv8 calculate scales (calculateKvScales).");
        }
        return builder.build();
    }

    private void layer(int layer, LayerNames names, KvScales.Builder builder) {
        KvScales.Side k = side(layer, "k", names);
        KvScales.Side v = side(layer, "v", names);
        if (k != null && v != null) {
            builder.layer(layer, new KvScales.LayerScales(k, v));
        }
    }

    private void refuse(LayerNames names, String why) {
        for (String which : List.of("k", "v")) {
            for (String name : names.scales(which)) {
                if (checkpoint.find(name).isPresent() && !faults.contains(name + " is there, but " + why)) {
                    faults.add(name + " is there, but " + why);
                }
            }
        }
    }

    private void refuseLayersBeyond() {
        for (String name : checkpoint.names()) {
            if (LayerNames.isScale(name) && LayerNames.layerOf(name) >= config.layers()) {
                faults.add(name + " is there, but the model has layers 0 to " + (config.layers() - 1));
            }
        }
    }

    /** Null when there is a fault. */
    private KvScales.@Nullable Side side(int layer, String which, LayerNames names) {
        String what = which + "_scale of layer " + layer;
        checkpoint
                .find(names.zeroPoint(which))
                .filter(points -> !isZero(points))
                .ifPresent(points -> faults.add(
                        what + " comes with zero points (" + points.name() + "); a cache in floats has none"));
        Map<String, KvScales.Side> found = new LinkedHashMap<>();
        for (String name : names.scales(which)) {
            StoredTensor tensor = checkpoint.find(name).orElse(null);
            if (tensor != null) {
                KvScales.Side side = side(what, tensor);
                if (side == null) {
                    return null;
                }
                found.put(name, side);
            }
        }
        if (found.isEmpty()) {
            faults.add(what + " is missing; kv8 takes no other in its place");
            return null;
        }
        if (found.values().stream().distinct().count() > 1) {
            faults.add(what + " is there under several names with different values: " + found);
            return null;
        }
        return found.values().iterator().next();
    }

    /** There is one for each scale at most; what has more is not looked at. */
    private boolean isZero(StoredTensor tensor) {
        if (tensor.elements() > (long) config.kvHeads() * config.headSize()) {
            return false;
        }
        var bytes = tensor.map(0, Math.toIntExact(tensor.bytes()));
        while (bytes.hasRemaining()) {
            if (bytes.get() != 0) {
                return false;
            }
        }
        return true;
    }

    private KvScales.@Nullable Side side(String what, StoredTensor tensor) {
        KvScales.Granularity shared = granularityOf(tensor);
        if (shared == null) {
            faults.add(what + " has shape " + tensor.shapeText() + "; " + allowedShapes());
            return null;
        }
        if (tensor.type().dtype().isEmpty()) {
            faults.add(what + " is " + tensor.type() + "; allowed are F32, BF16 and F16");
            return null;
        }
        float[] values = tensor.toFloats();
        for (int i = 0; i < values.length; i++) {
            try {
                KvScales.checkScale(values[i], values.length == 1 ? what : what + ", value " + i);
            } catch (IllegalArgumentException e) {
                faults.add(String.valueOf(e.getMessage()));
                return null;
            }
        }
        return switch (shared) {
            case HEAD -> KvScales.Side.head(values);
            case CHANNEL -> KvScales.Side.channel(values);
            case TENSOR, NONE, DYNAMIC -> KvScales.Side.tensor(values[0]);
        };
    }

    /** What its shape says; null when that is nothing, or not what the scheme says. */
    private KvScales.@Nullable Granularity granularityOf(StoredTensor tensor) {
        int heads = config.kvHeads();
        boolean byTensor = tensor.hasShape() || tensor.hasShape(1);
        boolean byHead = tensor.hasShape(heads) || tensor.hasShape(heads, 1, 1);
        boolean byChannel = tensor.hasShape(heads, 1, config.headSize());
        if (byTensor && (granularity == null || granularity == KvScales.Granularity.TENSOR)) {
            return KvScales.Granularity.TENSOR;
        }
        if (byHead && (granularity == null || granularity == KvScales.Granularity.HEAD)) {
            return KvScales.Granularity.HEAD;
        }
        return byChannel && (granularity == null || granularity == KvScales.Granularity.CHANNEL)
                ? KvScales.Granularity.CHANNEL
                : null;
    }

    private String allowedShapes() {
        String byTensor = "[], [1]";
        String byHead = "[" + config.kvHeads() + "], [" + config.kvHeads() + ", 1, 1]";
        String byChannel = "[" + config.kvHeads() + ", 1, " + config.headSize() + "]";
        if (granularity == null) {
            return "allowed are " + byTensor + ", " + byHead + " and " + byChannel;
        }
        String shapes = switch (granularity) {
            case HEAD -> byHead;
            case CHANNEL -> byChannel;
            case TENSOR, NONE, DYNAMIC -> byTensor;
        };
        return "its quantization_config says scales by " + granularity + ", for which allowed are " + shapes;
    }
}
