package dev.kv8.llm;

import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import dev.kv8.KvCache;
import dev.kv8.KvScales;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.file.Path;

/** A model opened for evaluation: its weights, and caches of any setting that hold one window. For one thread. */
final class EvaluationModel implements AutoCloseable {
    private static final int BLOCK_SIZE = 16;

    final KvBackend backend;
    final ModelConfig config;
    final Checkpoint checkpoint;
    final LlamaModel llama;
    final RopeTables rope;
    final int context;
    private ByteBuffer downloaded = ByteBuffer.allocateDirect(0);

    private EvaluationModel(
            KvBackend backend,
            ModelConfig config,
            Checkpoint checkpoint,
            LlamaModel llama,
            RopeTables rope,
            int context) {
        this.backend = backend;
        this.config = config;
        this.checkpoint = checkpoint;
        this.llama = llama;
        this.rope = rope;
        this.context = context;
    }

    /**
     * Loads a model.
     *
     * @param context tokens of the longest window
     * @throws CheckpointException when the model can't be used
     * @throws IllegalArgumentException when the context is longer than the model was made for
     */
    static EvaluationModel open(KvBackend backend, Path folder, int context) {
        ModelFolder.requireComplete(folder);
        ModelConfig config = ModelConfig.read(folder);
        if (context > config.maxPositions()) {
            throw new IllegalArgumentException("context is " + context + "; the model was made for at most "
                    + config.maxPositions() + " (max_position_embeddings).");
        }
        OpenedParts opened = new OpenedParts();
        try {
            Checkpoint checkpoint = opened.keep(Checkpoint.open(folder), Checkpoint::close);
            LlamaModel llama = opened.keep(LlamaModel.load(backend, config, checkpoint), LlamaModel::close);
            RopeTables rope = RopeTables.create(backend, config, context);
            return new EvaluationModel(backend, config, checkpoint, llama, rope, context);
        } catch (RuntimeException e) {
            opened.close();
            throw e;
        }
    }

    /** An empty cache of this setting, with these scales whatever the setting says of them. */
    EvaluationRun start(CacheSetting setting, KvScales scales) {
        KvCache cache = KvCache.create(
                backend,
                config.cacheConfig()
                        .kDtype(setting.kDtype())
                        .vDtype(setting.vDtype())
                        .skipLayers(setting.skippedLayers().stream()
                                .mapToInt(Integer::intValue)
                                .toArray())
                        .scales(scales)
                        .blockSize(BLOCK_SIZE)
                        .blocks((context + BLOCK_SIZE - 1) / BLOCK_SIZE)
                        .prefixCaching(false) // every row's logits are compared, so every row is computed
                        .build());
        return new EvaluationRun(this, setting, cache);
    }

    /** The logits of {@code rows} rows of the window that {@code run} last computed, as they are until the next call. */
    FloatBuffer logits(EvaluationRun run, int firstRow, int rows) {
        HeadRows logits = llama.logits(run.hidden(), firstRow, rows);
        int bytes = rows * config.vocabularySize() * Float.BYTES;
        if (downloaded.capacity() < bytes) {
            downloaded = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder());
        }
        backend.download(logits.memory(), 0, downloaded.clear().limit(bytes));
        return downloaded.asFloatBuffer();
    }

    @Override
    public void close() {
        rope.close();
        llama.close();
        checkpoint.close();
    }
}
