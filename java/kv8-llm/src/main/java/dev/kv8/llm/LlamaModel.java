package dev.kv8.llm;

import dev.kv8.AttentionOptions;
import dev.kv8.Batch;
import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import dev.kv8.KvCache;
import java.nio.IntBuffer;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * A decoder of the Llama family over a paged cache, as its {@link ModelConfig} says in all that architectures differ in: {@link #forward} computes a batch's hidden states and stores its K and V,
 * {@link #logits} projects chosen rows onto the vocabulary. Both work in memory that steps reuse, and on a device neither waits
 * once that has grown. For one thread.
 */
final class LlamaModel implements AutoCloseable {
    private final KvBackend backend;
    private final ModelConfig config;
    private final Products products;
    private final LlamaWeights weights;
    /** By layer. */
    private final List<AttentionOptions> attention = new ArrayList<>();

    private final @Nullable DecodeGraphs graphs;
    private @Nullable Activations activations;
    private @Nullable Logits logits;
    /** Of the last forward pass. */
    private int tokens;

    private LlamaModel(KvBackend backend, ModelConfig config, Checkpoint checkpoint) {
        this.backend = backend;
        this.config = config;
        for (int layer = 0; layer < config.layers(); layer++) {
            attention.add(config.attentionOptions(layer));
        }
        graphs = DecodeGraphs.on(backend);
        products = Products.on(backend);
        try {
            weights = LlamaWeights.load(products, backend, checkpoint, config);
        } catch (RuntimeException e) {
            products.close();
            throw e;
        }
    }

    /**
     * Loads a checkpoint's weights.
     *
     * @throws CheckpointException when the checkpoint does not fit its configuration
     * @throws dev.kv8.BackendUnavailableException when the device's matrix library is missing
     * @throws dev.kv8.DeviceException when a matrix library multiplies wrongly
     */
    static LlamaModel load(KvBackend backend, ModelConfig config, Checkpoint checkpoint) {
        return new LlamaModel(backend, config, checkpoint);
    }

    /** Where matrix products are computed. */
    Products products() {
        return products;
    }

    /**
     * What the language-model head reads and writes.
     *
     * @param rowIds int32, in host memory that kernels read: which rows of the last forward pass
     */
    private record Logits(DeviceMemory rowIds, IntBuffer ids, HeadRows input, HeadRows output, int rows) {
        void close() {
            rowIds.close();
            input.memory().close();
            output.memory().close();
        }
    }

    /** Rotates K by its layer's table inside the cache's write: the usual {@link KvWriter}. */
    static KvWriter writer(KvCache cache, RopeTables rope) {
        return (layer, batch, k, v) -> cache.write(layer, batch, k, v, rope.layer(layer));
    }

    /** Computes the hidden states of all rows of the batch; its K and V are stored by {@code writer}. Does not commit. */
    void forward(KvCache cache, Batch batch, RopeTables rope, KvWriter writer) {
        tokens = batch.tokens();
        compute(activationsFor(tokens), cache, batch, rope, writer);
    }

    /** As {@link #forward} with the usual {@link #writer}, and as a graph where the backend has them ({@link DecodeGraphs}). */
    void step(KvCache cache, Batch batch, RopeTables rope) {
        if (graphs == null) {
            forward(cache, batch, rope, writer(cache, rope));
            return;
        }
        tokens = batch.tokens();
        Activations a = activationsFor(tokens);
        graphs.run(cache, batch, rope, () -> compute(a, cache, batch, rope, writer(cache, rope)));
    }

    /** Null where there are none. */
    @Nullable
    DecodeGraphs graphs() {
        return graphs;
    }

    private void compute(Activations a, KvCache cache, Batch batch, RopeTables rope, KvWriter writer) {
        WeightLoader.Weights table = weights.embedding;
        backend.embedding(
                table.memory(),
                table.type(),
                config.vocabularySize(),
                batch.tokenIds(),
                a.hidden,
                tokens,
                config.embeddingScale());
        for (int layer = 0; layer < config.layers(); layer++) {
            LlamaWeights.Layer w = weights.layers.get(layer);
            HeadRows in = a.of(w.qkv().inputType()).normed;
            if (layer == 0) {
                norm(a.hidden, null, w.attentionNorm(), in);
            } else {
                norm(a.delta, a.hidden, w.attentionNorm(), in);
            }
            attend(layer, w, a, cache, batch, rope, writer);
            feedForward(w, a);
        }
        HeadRows normed = a.of(weights.head.inputType()).normed;
        norm(a.delta, a.hidden, weights.finalNorm, normed);
    }

    /** From the normalized hidden states to attention's contribution, in {@code a.delta}. */
    private void attend(
            int layer,
            LlamaWeights.Layer w,
            Activations a,
            KvCache cache,
            Batch batch,
            RopeTables rope,
            KvWriter writer) {
        Activations.Between in = a.of(w.qkv().inputType());
        Activations.Between out = a.of(w.output().inputType());
        w.qkv().apply(in.normed, in.qkv, tokens);
        normInPlace(in.q, w.qNorm());
        normInPlace(in.k, w.kNorm());
        backend.rope(in.q, rope.layer(layer), batch.positions(), tokens);
        writer.write(layer, batch, in.k, in.v);
        cache.attend(layer, batch, in.q, out.attention, attention.get(layer));
        w.output().apply(out.attended, a.delta, tokens);
        normInPlace(a.delta, w.attentionOutNorm());
    }

    /** From attention's contribution to the MLP's, in {@code a.delta}. */
    private void feedForward(LlamaWeights.Layer w, Activations a) {
        Activations.Between in = a.of(w.gateUp().inputType());
        Activations.Between out = a.of(w.down().inputType());
        norm(a.delta, a.hidden, w.mlpNorm(), in.normed);
        w.gateUp().apply(in.normed, in.gateUp, tokens);
        backend.gateMul(config.mlp().activation(), in.gate, in.up, out.activated, tokens);
        w.down().apply(out.activated, a.delta, tokens);
        normInPlace(a.delta, w.mlpOutNorm());
    }

    /** Nothing where the model has no such norm. */
    private void normInPlace(HeadRows x, WeightLoader.@Nullable Weights weight) {
        if (weight != null) {
            norm(x, null, weight, x);
        }
    }

    private void norm(HeadRows x, @Nullable HeadRows residual, WeightLoader.Weights weight, HeadRows out) {
        backend.rmsNorm(
                x, residual, weight.memory(), weight.type(), config.norm().eps(), out, tokens);
    }

    /**
     * The logits of {@code count} chosen rows of the last forward pass, float32 {@code [count][1][vocabulary]}. Something must have
     * waited for those of the call before.
     */
    HeadRows logits(int[] rows, int count) {
        Logits space = logitsFor(count);
        HeadRows hidden = lastHidden();
        space.ids().put(0, rows, 0, count);
        backend.embedding(hidden.memory(), hidden.dtype(), tokens, space.rowIds(), space.input(), count, 1);
        return project(space, count);
    }

    /** The logits of {@code count} rows of {@code hidden}, as {@link #copyHidden} left them there, from {@code firstRow} on. */
    HeadRows logits(DeviceMemory hidden, int firstRow, int count) {
        Logits space = logitsFor(count);
        long bytes = hiddenBytes();
        backend.copy(hidden, firstRow * bytes, space.input().memory(), 0, count * bytes);
        return project(space, count);
    }

    /** Copies the first {@code count} rows of the last forward pass, ready for the head, to {@code target} from {@code targetRow}. */
    void copyHidden(int count, DeviceMemory target, int targetRow) {
        long bytes = hiddenBytes();
        backend.copy(lastHidden().memory(), 0, target, targetRow * bytes, count * bytes);
    }

    /** Bytes of a row that is ready for the head. */
    long hiddenBytes() {
        return (long) config.hiddenSize() * weights.head.inputType().bytes();
    }

    private HeadRows project(Logits space, int count) {
        weights.head.apply(space.input(), space.output(), count);
        if (config.logitSoftcap() != 0) {
            backend.softcap(space.output(), count, config.logitSoftcap());
        }
        return space.output();
    }

    private HeadRows lastHidden() {
        if (activations == null) {
            throw new IllegalStateException("There are no logits before the first forward pass.");
        }
        return activations.of(weights.head.inputType()).normed;
    }

    private Activations activationsFor(int count) {
        if (activations == null || activations.rows() < products.room(count)) {
            int rows = count;
            if (activations != null) {
                rows = grown(activations.rows(), count);
                activations.close();
                activations = null;
            }
            activations = new Activations(backend, config, products.room(rows), weights.widestInput());
        }
        return activations;
    }

    /** Half as much again at least: on a device allocating waits, so a batch that grows by a row must not cause it each time. */
    private static int grown(int old, int needed) {
        return Math.max(needed, old + old / 2);
    }

    private Logits logitsFor(int count) {
        if (logits == null || logits.rows() < products.room(count)) {
            int needed = count;
            if (logits != null) {
                needed = grown(logits.rows(), count);
                logits.close();
                logits = null;
            }
            int rows = products.room(needed);
            DType type = weights.head.inputType();
            DeviceMemory ids = backend.allocateHost((long) rows * Integer.BYTES);
            DeviceMemory input = backend.allocate(rows * hiddenBytes());
            backend.fill(input, 0, input.bytes(), (byte) 0);
            DeviceMemory output = backend.allocate((long) rows * config.vocabularySize() * Float.BYTES);
            logits = new Logits(
                    ids,
                    backend.hostView(ids, 0, rows * Integer.BYTES).asIntBuffer(),
                    HeadRows.of(input, type, 1, config.hiddenSize()),
                    HeadRows.of(output, DType.FLOAT32, 1, config.vocabularySize()),
                    rows);
        }
        return logits;
    }

    @Override
    public void close() {
        if (graphs != null) {
            graphs.close();
        }
        if (activations != null) {
            activations.close();
        }
        if (logits != null) {
            logits.close();
        }
        weights.close();
        products.close();
    }
}
