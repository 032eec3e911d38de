package dev.kv8.llm;

import dev.kv8.AmaxGranularity;
import dev.kv8.DType;
import dev.kv8.Fp8Format;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import dev.kv8.KvCache;
import dev.kv8.KvCacheConfig;
import dev.kv8.KvCacheDType;
import dev.kv8.KvScales;
import dev.kv8.RopeTable;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.List;

/**
 * One pass of {@link CacheEvaluation} over a text: each window goes through all caches, then their logits are compared a few
 * rows at a time.
 */
final class EvaluationPass {
    /** Rows whose logits are in memory at once. */
    private static final int ROWS = 64;

    private static final int BLOCK_SIZE = 16;

    private final KvBackend backend;
    private final ModelConfig config;
    private final Checkpoint checkpoint;
    private final LlamaModel model;
    private final RopeTable rope;
    private final int[] tokens;
    private final int context;
    private final List<EvaluationWindows.Window> windows;
    private final double[][] reference;
    private final int[] referenceBest = new int[ROWS];
    private final double[] own;

    EvaluationPass(
            KvBackend backend,
            ModelConfig config,
            Checkpoint checkpoint,
            LlamaModel model,
            RopeTable rope,
            int[] tokens,
            int context,
            int stride) {
        this.backend = backend;
        this.config = config;
        this.checkpoint = checkpoint;
        this.model = model;
        this.rope = rope;
        this.tokens = tokens;
        this.context = context;
        windows = EvaluationWindows.cut(tokens.length, context, stride);
        reference = new double[ROWS][config.vocabularySize()];
        own = new double[config.vocabularySize()];
    }

    List<CacheEvaluation.Result> run(List<CacheEvaluation.Setting> settings, CacheEvaluation.Progress progress) {
        List<EvaluationRun> runs = new ArrayList<>();
        try (EvaluationRun auto = start(KvCacheDType.AUTO, KvScales.none(config.layers()))) {
            for (CacheEvaluation.Setting setting : settings) {
                runs.add(start(setting.kvCacheDType(), scales(setting, auto)));
            }
            for (int i = 0; i < windows.size(); i++) {
                window(windows.get(i), auto, runs);
                progress.windowDone(i + 1, windows.size());
            }
            List<CacheEvaluation.Result> results = new ArrayList<>();
            for (int i = 0; i < runs.size(); i++) {
                results.add(result(settings.get(i), runs.get(i)));
            }
            return results;
        } finally {
            runs.forEach(EvaluationRun::close);
        }
    }

    private EvaluationRun start(KvCacheDType dtype, KvScales scales) {
        KvCacheConfig cacheConfig = config.cacheConfig()
                .dtype(dtype)
                .scales(scales)
                .blockSize(BLOCK_SIZE)
                .blocks((context + BLOCK_SIZE - 1) / BLOCK_SIZE)
                .build();
        return new EvaluationRun(model, config, KvCache.create(backend, cacheConfig), rope, context);
    }

    private KvScales scales(CacheEvaluation.Setting setting, EvaluationRun auto) {
        if (!setting.kvCacheDType().isFp8()) {
            return KvScales.none(config.layers());
        }
        DType stored = setting.kvCacheDType().resolve(config.dtype());
        return switch (setting.scales()) {
            case NONE -> KvScales.none(config.layers());
            case DYNAMIC -> KvScales.dynamic(config.layers());
            case TENSOR -> calibrated(auto, AmaxGranularity.TENSOR, stored);
            case HEAD -> calibrated(auto, AmaxGranularity.HEAD, stored);
            case CHANNEL -> calibrated(auto, AmaxGranularity.CHANNEL, stored);
            case CHECKPOINT ->
                CheckpointScales.read(checkpoint, config)
                        .map(CheckpointScales.Found::scales)
                        .orElseThrow(() -> new CheckpointException(checkpoint.folder()
                                + " has no KV scales; calibrate it, or evaluate with other scales (tensor, head, channel,"
                                + " dynamic or none)."));
        };
    }

    private KvScales calibrated(EvaluationRun auto, AmaxGranularity granularity, DType stored) {
        Fp8Format format = Fp8Format.of(stored);
        KvScales.Builder scales = KvScales.builder(config.layers(), config.kvHeads(), config.headSize());
        try (ScaleObserver observer = new ScaleObserver(backend, rope, config, granularity)) {
            auto.compute(tokens, windows.get(0), (layer, batch, k, v) -> {
                observer.observe(layer, batch, k, v);
                auto.cache().write(layer, batch, k, v);
            });
            for (int layer = 0; layer < config.layers(); layer++) {
                scales.layer(layer, observer.scales(layer, format, format));
            }
        }
        return scales.build();
    }

    private void window(EvaluationWindows.Window window, EvaluationRun auto, List<EvaluationRun> runs) {
        auto.compute(tokens, window);
        for (EvaluationRun run : runs) {
            run.compute(tokens, window);
        }
        for (int done = 0; done < window.targets(); done += ROWS) {
            int rows = Math.min(ROWS, window.targets() - done);
            int firstRow = window.firstRow() + done;
            FloatBuffer logits = logits(auto, firstRow, rows);
            for (int row = 0; row < rows; row++) {
                referenceBest[row] = LogitComparison.logSoftmax(logits, row, reference[row]);
            }
            for (EvaluationRun run : runs) {
                logits = logits(run, firstRow, rows);
                for (int row = 0; row < rows; row++) {
                    int best = LogitComparison.logSoftmax(logits, row, own);
                    int target = tokens[window.firstTarget() + done + row];
                    run.comparison.add(reference[row], referenceBest[row], own, best, target);
                }
            }
        }
    }

    private FloatBuffer logits(EvaluationRun run, int firstRow, int rows) {
        HeadRows logits = model.logits(run.hidden(), firstRow, rows);
        backend.synchronize();
        return backend.hostView(logits.memory(), 0, rows * config.vocabularySize() * Float.BYTES)
                .order(ByteOrder.nativeOrder())
                .asFloatBuffer();
    }

    private static CacheEvaluation.Result result(CacheEvaluation.Setting setting, EvaluationRun run) {
        LogitComparison comparison = run.comparison;
        return new CacheEvaluation.Result(
                setting.kvCacheDType(),
                setting.kvCacheDType().isFp8() ? setting.scales() : ScaleMode.NONE,
                comparison.perplexity(),
                comparison.klMean(),
                comparison.klMax(),
                comparison.top1Agreement(),
                run.cacheBytesPerToken());
    }
}
