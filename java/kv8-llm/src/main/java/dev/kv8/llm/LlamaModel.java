package dev.kv8.llm;

import dev.kv8.AttentionOptions;
import dev.kv8.Batch;
import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import dev.kv8.KvCache;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * A decoder of the Llama family over a paged cache, as its {@link ModelConfig} says in all that architectures differ in: {@link #forward} computes a batch's hidden states and stores its K and V,
 * {@link #logits} projects chosen rows onto the vocabulary. Both work in memory that steps reuse. For one thread.
 */
final class LlamaModel implements AutoCloseable {
    private final KvBackend backend;
    private final ModelConfig config;
    private final OneDnn dnn = new OneDnn();
    private final LlamaWeights weights;
    private final HostRows host;
    /** By layer. */
    private final List<AttentionOptions> attention = new ArrayList<>();

    private @Nullable Activations activations;
    private @Nullable Logits logits;

    private LlamaModel(KvBackend backend, ModelConfig config, Checkpoint checkpoint) {
        this.backend = backend;
        this.config = config;
        this.host = new HostRows(backend);
        for (int layer = 0; layer < config.layers(); layer++) {
            attention.add(config.attentionOptions(layer));
        }
        try {
            weights = LlamaWeights.load(dnn, backend, checkpoint, config);
        } catch (RuntimeException e) {
            dnn.close();
            throw e;
        }
    }

    /**
     * Loads a checkpoint's weights.
     *
     * @throws CheckpointException when the checkpoint does not fit its configuration
     * @throws IllegalArgumentException when the backend's memory can't be reached by the processor, which oneDNN needs
     */
    static LlamaModel load(KvBackend backend, ModelConfig config, Checkpoint checkpoint) {
        if (!backend.info().hostAccessible()) {
            throw new IllegalArgumentException(
                    "The engine multiplies matrices with oneDNN on the CPU, which can't reach the memory of the "
                            + backend.info().backend() + " backend; matrix products on a GPU (cuBLASLt, hipBLASLt) are"
                            + " missing so far. Run the engine with -Dkv.backend=cpu. KvCache and KvBackend work on "
                            + backend.info().name() + ".");
        }
        return new LlamaModel(backend, config, checkpoint);
    }

    /** What input and output of the language-model head need. */
    private record Logits(DeviceMemory input, DeviceMemory output, int rows) {
        void close() {
            input.close();
            output.close();
        }
    }

    /** Rotates K by its layer's table inside the cache's write: the usual {@link KvWriter}. */
    static KvWriter writer(KvCache cache, RopeTables rope) {
        return (layer, batch, k, v) -> cache.write(layer, batch, k, v, rope.layer(layer));
    }

    /** Computes the hidden states of all rows of the batch; its K and V are stored by {@code writer}. Does not commit. */
    void forward(KvCache cache, Batch batch, RopeTables rope, KvWriter writer) {
        int tokens = batch.tokens();
        Activations a = activationsFor(tokens);
        WeightLoader.Weights embedding = weights.embedding;
        backend.embedding(
                embedding.memory(), embedding.type(), config.vocabularySize(), batch.tokenIds(), a.hidden, tokens, 1);
        if (config.embeddingScale() != 1) {
            host.scale(a.hidden, tokens, config.embeddingScale());
        }
        for (int layer = 0; layer < config.layers(); layer++) {
            LlamaWeights.Layer w = weights.layers.get(layer);
            norm(layer == 0 ? a.hidden : a.delta, layer == 0 ? null : a.hidden, w.attentionNorm(), a.normed, tokens);
            w.qkv().apply(a.normed.memory(), a.qkv.memory(), tokens);
            normInPlace(a.q, w.qNorm(), tokens);
            normInPlace(a.k, w.kNorm(), tokens);
            backend.rope(a.q, rope.layer(layer), batch.positions(), tokens);
            writer.write(layer, batch, a.k, a.v);
            cache.attend(layer, batch, a.q, a.attention, attention.get(layer));
            w.output().apply(a.attention.memory(), a.delta.memory(), tokens);
            normInPlace(a.delta, w.attentionOutNorm(), tokens);
            norm(a.delta, a.hidden, w.mlpNorm(), a.normed, tokens);
            w.gateUp().apply(a.normed.memory(), a.gateUp.memory(), tokens);
            activate(a, tokens);
            w.down().apply(a.activated.memory(), a.delta.memory(), tokens);
            normInPlace(a.delta, w.mlpOutNorm(), tokens);
        }
        norm(a.delta, a.hidden, weights.finalNorm, a.normed, tokens);
    }

    private void activate(Activations a, int tokens) {
        switch (config.mlp().activation()) {
            case SILU -> backend.gateMul(dev.kv8.Activation.SILU, a.gate, a.up, a.activated, tokens);
            case GELU_TANH -> host.geluMul(a.gate, a.up, a.activated, tokens);
        }
    }

    /** Nothing where the model has no such norm. */
    private void normInPlace(HeadRows x, WeightLoader.@Nullable Weights weight, int tokens) {
        if (weight != null) {
            norm(x, null, weight, x, tokens);
        }
    }

    private void norm(HeadRows x, @Nullable HeadRows residual, WeightLoader.Weights weight, HeadRows out, int tokens) {
        backend.rmsNorm(
                x, residual, weight.memory(), weight.type(), config.norm().eps(), out, tokens);
    }

    /** The logits of {@code count} chosen rows of the last forward pass, {@code [count][1][vocabulary]}. */
    HeadRows logits(int[] rows, int count) {
        Logits space = logitsFor(count);
        DeviceMemory hidden = lastHidden();
        long bytes = (long) config.hiddenSize() * Float.BYTES;
        for (int i = 0; i < count; i++) {
            backend.copy(hidden, rows[i] * bytes, space.input(), i * bytes, bytes);
        }
        return project(space, count);
    }

    /** The logits of {@code count} rows of {@code hidden}, as {@link #copyHidden} left them there, from {@code firstRow} on. */
    HeadRows logits(DeviceMemory hidden, int firstRow, int count) {
        Logits space = logitsFor(count);
        long bytes = (long) config.hiddenSize() * Float.BYTES;
        backend.copy(hidden, firstRow * bytes, space.input(), 0, count * bytes);
        return project(space, count);
    }

    /** Copies the first {@code count} rows of the last forward pass, ready for the head, to {@code target} from {@code targetRow}. */
    void copyHidden(int count, DeviceMemory target, int targetRow) {
        long bytes = (long) config.hiddenSize() * Float.BYTES;
        backend.copy(lastHidden(), 0, target, targetRow * bytes, count * bytes);
    }

    private HeadRows project(Logits space, int count) {
        weights.head.apply(space.input(), space.output(), count);
        HeadRows rows = HeadRows.of(space.output(), DType.FLOAT32, 1, config.vocabularySize());
        if (config.logitSoftcap() != 0) {
            host.softcap(rows, count, config.logitSoftcap());
        }
        return rows;
    }

    private DeviceMemory lastHidden() {
        if (activations == null) {
            throw new IllegalStateException("There are no logits before the first forward pass.");
        }
        return activations.normed.memory();
    }

    private Activations activationsFor(int tokens) {
        if (activations == null || !activations.holds(tokens)) {
            if (activations != null) {
                activations.close();
            }
            activations = new Activations(backend, config, tokens);
        }
        return activations;
    }

    private Logits logitsFor(int count) {
        if (logits == null || logits.rows() < count) {
            if (logits != null) {
                logits.close();
            }
            int rows = MatMul.paddedRows(count);
            DeviceMemory input = backend.allocate((long) rows * config.hiddenSize() * Float.BYTES);
            backend.fill(input, 0, input.bytes(), (byte) 0);
            DeviceMemory output = backend.allocate((long) rows * config.vocabularySize() * Float.BYTES);
            logits = new Logits(input, output, rows);
        }
        return logits;
    }

    @Override
    public void close() {
        if (activations != null) {
            activations.close();
        }
        if (logits != null) {
            logits.close();
        }
        weights.close();
        dnn.close();
    }
}
