package dev.kv8.llm;

import dev.kv8.KvScales;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * The KV scales that a checkpoint may carry: {@code model.layers.N.self_attn.k_scale} and {@code v_scale} (or {@code
 * self_attn.attn.k_scale}), of shape {@code []} or {@code [1]} for a tensor, {@code [heads]} or {@code [heads, 1, 1]} by
 * head, {@code [heads, 1, head_size]} by channel, in F32, BF16 or F16.
 */
public final class CheckpointScales {
    private final Checkpoint checkpoint;
    private final ModelConfig config;
    private final List<String> faults = new ArrayList<>();
    private int missing;

    private CheckpointScales(Checkpoint checkpoint, ModelConfig config) {
        this.checkpoint = checkpoint;
        this.config = config;
    }

    /**
     * Reads the scales of a model folder.
     *
     * @return empty when no layer has any
     * @throws CheckpointException naming every layer whose scales are missing or not usable, when others have them
     */
    public static Optional<KvScales> read(Path folder) {
        ModelConfig config = ModelConfig.read(folder);
        try (Checkpoint checkpoint = Checkpoint.open(folder)) {
            return read(checkpoint, config);
        }
    }

    static Optional<KvScales> read(Checkpoint checkpoint, ModelConfig config) {
        return new CheckpointScales(checkpoint, config).scales();
    }

    private Optional<KvScales> scales() {
        KvScales.Builder builder = KvScales.builder(config.layers(), config.kvHeads(), config.headSize());
        for (int layer = 0; layer < config.layers(); layer++) {
            KvScales.Side k = side(layer, "k");
            KvScales.Side v = side(layer, "v");
            if (k != null && v != null) {
                builder.layer(layer, new KvScales.LayerScales(k, v));
            }
        }
        if (missing == 2 * config.layers()) {
            return Optional.empty();
        }
        if (!faults.isEmpty()) {
            throw new CheckpointException(checkpoint.folder() + " has KV scales that can't be used:\n  "
                    + String.join("\n  ", faults)
                    + "\nCalibrate the checkpoint anew, or let kv8 calculate scales (calculateKvScales).");
        }
        return Optional.of(builder.build());
    }

    private KvScales.@Nullable Side side(int layer, String which) {
        for (String name : new LayerNames(layer).scales(which)) {
            Optional<StoredTensor> found = checkpoint.find(name);
            if (found.isPresent()) {
                return side(which + "_scale of layer " + layer, found.get());
            }
        }
        missing++;
        faults.add(which + "_scale of layer " + layer + " is missing");
        return null;
    }

    private KvScales.@Nullable Side side(String what, StoredTensor tensor) {
        int heads = config.kvHeads();
        int size = config.headSize();
        boolean single = tensor.hasShape() || tensor.hasShape(1);
        boolean byHead = tensor.hasShape(heads) || tensor.hasShape(heads, 1, 1);
        boolean byChannel = tensor.hasShape(heads, 1, size);
        if (!single && !byHead && !byChannel) {
            faults.add(what + " has shape " + tensor.shapeText() + "; allowed are [], [1], [" + heads + "], [" + heads
                    + ", 1, 1] and [" + heads + ", 1, " + size + "]");
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
        if (single) {
            return KvScales.Side.tensor(values[0]);
        }
        return byHead ? KvScales.Side.head(values) : KvScales.Side.channel(values);
    }
}
