package dev.kv8.llm;

import dev.kv8.AmaxGranularity;
import dev.kv8.KvBackend;
import dev.kv8.KvScales;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The largest magnitudes of K (rotated, as it is stored) and V that a text brings about, by layer, head and channel.
 * Immutable.
 */
public final class ObservedRanges {
    private final int headSize;
    /** By layer, {@code [heads][headSize]}. */
    private final List<float[]> k;

    private final List<float[]> v;

    private ObservedRanges(int headSize, List<float[]> k, List<float[]> v) {
        this.headSize = headSize;
        this.k = k;
        this.v = v;
    }

    /**
     * Lets a model read a text, in windows of {@code context} tokens, each from an empty cache.
     *
     * @param backend stays the caller's; one is opened and closed when it is null
     * @throws CheckpointException when the model can't be used
     * @throws IllegalArgumentException when the context is less than one token or too long for the model
     */
    public static ObservedRanges measure(
            @Nullable KvBackend backend, Path folder, String text, int context, CacheEvaluation.Progress progress) {
        if (context < 1) {
            throw new IllegalArgumentException("context is " + context + "; it must be at least 1 token.");
        }
        return GivenBackend.use(backend, opened -> measureOn(opened, folder, text, context, progress));
    }

    private static ObservedRanges measureOn(
            KvBackend backend, Path folder, String text, int context, CacheEvaluation.Progress progress) {
        try (EvaluationModel model = EvaluationModel.open(backend, folder, context);
                Tokenizer tokenizer = Tokenizer.load(folder)) {
            int[] tokens = tokenizer.encode(text);
            try (WindowScales scales =
                    new WindowScales(model, tokens, EvaluationWindows.cut(tokens.length, context, context))) {
                ScaleObserver observer = scales.observer(AmaxGranularity.CHANNEL, progress);
                List<float[]> k = new ArrayList<>();
                List<float[]> v = new ArrayList<>();
                for (int layer = 0; layer < model.config.layers(); layer++) {
                    // A rule that leaves magnitudes as they are.
                    KvScales.LayerScales magnitudes = observer.scales(layer, amax -> amax, amax -> amax);
                    k.add(magnitudes.k().values());
                    v.add(magnitudes.v().values());
                }
                return new ObservedRanges(model.config.headSize(), k, v);
            }
        }
    }

    /** Of a channel of K; 0 when it is zero throughout. */
    public float k(int layer, int head, int channel) {
        return k.get(layer)[head * headSize + channel];
    }

    /** Of a channel of V; 0 when it is zero throughout. */
    public float v(int layer, int head, int channel) {
        return v.get(layer)[head * headSize + channel];
    }
}
