package dev.kv8.llm;

import dev.kv8.AmaxGranularity;
import dev.kv8.DType;
import dev.kv8.Fp8Format;
import dev.kv8.KvCacheDType;
import dev.kv8.KvScales;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;

/**
 * Caches with the scales that settings ask for: as given, or from the magnitudes of some windows of a text, computed with the {@code auto} cache. The windows go through the model
 * once for each granularity that is asked for, whatever formats the scales are for.
 */
final class WindowScales implements AutoCloseable {
    private final EvaluationModel model;
    private final int[] tokens;
    private final List<EvaluationWindows.Window> windows;
    private final Map<AmaxGranularity, ScaleObserver> observers = new EnumMap<>(AmaxGranularity.class);

    WindowScales(EvaluationModel model, int[] tokens, List<EvaluationWindows.Window> windows) {
        this.model = model;
        this.tokens = tokens;
        this.windows = windows;
    }

    /**
     * An empty cache of this setting, with its scales; with the checkpoint's ones it also skips the layers that they skip.
     *
     * @throws CheckpointException when they are the checkpoint's, which has none
     */
    EvaluationRun start(CacheSetting setting) {
        return model.start(setting.withSkippedLayers(skippedLayers(setting)), scales(setting));
    }

    private List<Integer> skippedLayers(CacheSetting setting) {
        if (setting.scales() != ScaleMode.CHECKPOINT) {
            return setting.skippedLayers();
        }
        List<Integer> skipped = new ArrayList<>(setting.skippedLayers());
        skipped.addAll(ofCheckpoint().skippedLayers());
        return skipped;
    }

    private CheckpointScales.Found ofCheckpoint() {
        return CheckpointScales.read(model.checkpoint, model.config)
                .orElseThrow(() -> new CheckpointException(model.checkpoint.folder()
                        + " has no KV scales; calibrate it, or evaluate with other scales (tensor, head, channel, dynamic or"
                        + " none)."));
    }

    private KvScales scales(CacheSetting setting) {
        if (setting.scales() instanceof ScaleSource.Given given) {
            return given.scales();
        }
        return switch ((ScaleMode) setting.scales()) {
            case NONE -> KvScales.none(model.config.layers());
            case DYNAMIC -> KvScales.dynamic(model.config.layers());
            case TENSOR -> calibrated(AmaxGranularity.TENSOR, setting);
            case HEAD -> calibrated(AmaxGranularity.HEAD, setting);
            case CHANNEL -> calibrated(AmaxGranularity.CHANNEL, setting);
            case CHECKPOINT -> ofCheckpoint().scales();
        };
    }

    private KvScales calibrated(AmaxGranularity granularity, CacheSetting setting) {
        DType kType = setting.kDtype().resolve(model.config.dtype());
        DType vType = setting.vDtype().resolve(model.config.dtype());
        // A side that is not FP8 has no scale, whatever is given for it.
        Fp8Format kFormat = Fp8Format.of(kType.isFp8() ? kType : vType);
        Fp8Format vFormat = Fp8Format.of(vType.isFp8() ? vType : kType);
        return scales(granularity, kFormat, vFormat);
    }

    /** The scales with which the largest magnitudes become the formats' largest values; 1.0 where everything is zero. */
    KvScales scales(AmaxGranularity granularity, Fp8Format kFormat, Fp8Format vFormat) {
        ScaleObserver observer = observer(granularity, (done, all) -> {});
        ModelConfig config = model.config;
        KvScales.Builder scales = KvScales.builder(config.layers(), config.kvHeads(), config.headSize());
        for (int layer = 0; layer < config.layers(); layer++) {
            scales.layer(layer, observer.scales(layer, kFormat, vFormat));
        }
        return scales.build();
    }

    /** What the windows brought about; the first call of each granularity computes them and reports its progress. */
    ScaleObserver observer(AmaxGranularity granularity, CacheEvaluation.Progress progress) {
        ScaleObserver observer = observers.get(granularity);
        if (observer == null) {
            observer = observe(granularity, progress);
            observers.put(granularity, observer);
        }
        return observer;
    }

    private ScaleObserver observe(AmaxGranularity granularity, CacheEvaluation.Progress progress) {
        ScaleObserver observer = new ScaleObserver(model.backend, model.rope, model.config, granularity);
        CacheSetting setting = CacheSetting.of(KvCacheDType.AUTO, ScaleMode.NONE);
        try (EvaluationRun auto = model.start(setting, KvScales.none(model.config.layers()))) {
            for (int i = 0; i < windows.size(); i++) {
                auto.compute(tokens, windows.get(i), (layer, batch, k, v) -> {
                    observer.observe(layer, batch, k, v);
                    auto.cache().write(layer, batch, k, v);
                });
                progress.windowDone(i + 1, windows.size());
            }
            return observer;
        } catch (RuntimeException e) {
            observer.close();
            throw e;
        }
    }

    @Override
    public void close() {
        observers.values().forEach(ScaleObserver::close);
    }
}
