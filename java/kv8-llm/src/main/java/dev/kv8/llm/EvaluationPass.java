package dev.kv8.llm;

import dev.kv8.KvCacheDType;
import dev.kv8.KvScales;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.List;

/**
 * {@link CacheEvaluation}'s way over a text, as often as settings are given: each window goes through all caches, then their
 * logits are compared a few rows at a time.
 */
final class EvaluationPass implements AutoCloseable {
    /** Rows whose logits are in memory at once. */
    private static final int ROWS = 64;

    private final EvaluationModel model;
    private final ModelConfig config;
    private final int[] tokens;
    private final List<EvaluationWindows.Window> windows;
    private final WindowScales calibrated;
    private final double[][] reference;
    private final int[] referenceBest = new int[ROWS];
    private final double[] own;

    /**
     * A pass over {@code tokens}.
     *
     * @param calibrationTokens from the beginning on, of which scales are made; as many as there are, if fewer
     */
    EvaluationPass(EvaluationModel model, int[] tokens, int stride, int calibrationTokens) {
        this.model = model;
        this.config = model.config;
        this.tokens = tokens;
        windows = EvaluationWindows.cut(tokens.length, model.context, stride);
        calibrated = new WindowScales(
                model,
                tokens,
                EvaluationWindows.cut(Math.min(calibrationTokens, tokens.length), model.context, model.context));
        reference = new double[ROWS][config.vocabularySize()];
        own = new double[config.vocabularySize()];
    }

    List<CacheEvaluation.Result> run(List<CacheSetting> settings, CacheEvaluation.Progress progress) {
        List<EvaluationRun> runs = new ArrayList<>();
        try (EvaluationRun auto =
                model.start(CacheSetting.of(KvCacheDType.AUTO, ScaleMode.NONE), KvScales.none(config.layers()))) {
            for (CacheSetting setting : settings) {
                runs.add(calibrated.start(setting));
            }
            for (int i = 0; i < windows.size(); i++) {
                window(windows.get(i), auto, runs);
                progress.windowDone(i + 1, windows.size());
            }
            List<CacheEvaluation.Result> results = new ArrayList<>();
            for (EvaluationRun run : runs) {
                results.add(new CacheEvaluation.Result(
                        run.setting(),
                        run.comparison.quality(),
                        run.comparison.byPosition(),
                        run.cacheBytesPerToken(),
                        run.cache().saturation().total(),
                        run.cache().scales()));
            }
            return results;
        } finally {
            runs.forEach(EvaluationRun::close);
        }
    }

    ModelConfig config() {
        return config;
    }

    private void window(EvaluationWindows.Window window, EvaluationRun auto, List<EvaluationRun> runs) {
        auto.compute(tokens, window);
        for (EvaluationRun run : runs) {
            run.compute(tokens, window);
        }
        for (int done = 0; done < window.targets(); done += ROWS) {
            int rows = Math.min(ROWS, window.targets() - done);
            int firstRow = window.firstRow() + done;
            FloatBuffer logits = model.logits(auto, firstRow, rows);
            for (int row = 0; row < rows; row++) {
                referenceBest[row] = LogitComparison.logSoftmax(logits, row, reference[row]);
            }
            for (EvaluationRun run : runs) {
                logits = model.logits(run, firstRow, rows);
                for (int row = 0; row < rows; row++) {
                    int best = LogitComparison.logSoftmax(logits, row, own);
                    int position = firstRow + row + 1;
                    int target = tokens[window.begin() + position];
                    run.comparison.add(position, reference[row], referenceBest[row], own, best, target);
                }
            }
        }
    }

    @Override
    public void close() {
        calibrated.close();
    }
}
