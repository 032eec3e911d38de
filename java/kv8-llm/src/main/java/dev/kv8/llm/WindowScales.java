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
import org.jspecify.annotations.Nullable;

/**
 * Caches with the scales that settings ask for: as given, or from the magnitudes of some windows of a text or of random tokens,
 * computed with the {@code auto} cache. The windows go through the model once for each granularity that is asked for, whatever
 * formats the scales are for.
 */
final class WindowScales implements AutoCloseable {
    private final EvaluationModel model;
    private final int[] tokens;
    private final List<EvaluationWindows.Window> windows;
    private final Map<AmaxGranularity, ScaleObserver> observers = new EnumMap<>(AmaxGranularity.class);
    private @Nullable WindowScales profile;

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
            case TENSOR, HEAD, CHANNEL ->
                scales(setting, KvScaleCalculation.firstPass().withGranularity(granularity(setting)));
            case RANDOM_TOKENS -> ofRandomTokens().scales(setting, KvScaleCalculation.randomTokens());
            case VLLM -> scales(setting, KvScaleCalculation.firstPass().withVllmConstants());
            case CHECKPOINT -> ofCheckpoint().scales();
        };
    }

    private static KvScales.Granularity granularity(CacheSetting setting) {
        return KvScales.Granularity.valueOf(((ScaleMode) setting.scales()).name());
    }

    /** The scales that a pass over the windows gives for a setting's types. */
    KvScales scales(CacheSetting setting, KvScaleCalculation how) {
        DType kType = setting.kDtype().resolve(model.config.dtype());
        DType vType = setting.vDtype().resolve(model.config.dtype());
        // A side that is not FP8 has no scale, whatever is given for it.
        Fp8Format kFormat = Fp8Format.of(kType.isFp8() ? kType : vType);
        Fp8Format vFormat = Fp8Format.of(vType.isFp8() ? vType : kType);
        ScaleObserver observer =
                observer(AmaxGranularity.valueOf(how.granularity().name()), (done, all) -> {});
        ModelConfig config = model.config;
        KvScales.Builder scales = KvScales.builder(config.layers(), config.kvHeads(), config.headSize());
        for (int layer = 0; layer < config.layers(); layer++) {
            scales.layer(
                    layer,
                    observer.scales(layer, amax -> how.kScale(amax, kFormat), amax -> how.vScale(amax, vFormat)));
        }
        return scales.build();
    }

    /** The same for one window of random tokens. */
    private WindowScales ofRandomTokens() {
        if (profile == null) {
            int[] random = ScaleCalculation.randomTokens(model.config, model.context);
            profile =
                    new WindowScales(model, random, EvaluationWindows.cut(random.length, model.context, model.context));
        }
        return profile;
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
                    auto.cache().write(layer, batch, k, v, model.rope.layer(layer));
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
        if (profile != null) {
            profile.close();
        }
    }
}
