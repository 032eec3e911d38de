package dev.kv8.llm;

import dev.kv8.AmaxGranularity;
import dev.kv8.Batch;
import dev.kv8.DType;
import dev.kv8.Fp8Format;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import dev.kv8.KvCache;
import java.util.SplittableRandom;

/**
 * A forward pass in which each layer gets its scales from the magnitudes of that pass, just before the layer's first tokens are
 * stored.
 */
final class ScaleCalculation implements KvWriter, AutoCloseable {
    private static final long SEED = 8;

    private final KvCache cache;
    private final RopeTables rope;
    private final KvScaleCalculation settings;
    private final ScaleObserver observer;

    ScaleCalculation(
            KvBackend backend, KvCache cache, RopeTables rope, ModelConfig config, KvScaleCalculation settings) {
        this.cache = cache;
        this.rope = rope;
        this.settings = settings;
        this.observer = new ScaleObserver(backend, rope, config, granularity(settings));
    }

    /** A model's random tokens, the same whenever they are asked for: it has the same scales whenever it is loaded. */
    static int[] randomTokens(ModelConfig config, int count) {
        return new SplittableRandom(SEED)
                .ints(count, 0, config.vocabularySize())
                .toArray();
    }

    private static AmaxGranularity granularity(KvScaleCalculation settings) {
        return AmaxGranularity.valueOf(settings.granularity().name());
    }

    @Override
    public void write(int layer, Batch batch, HeadRows k, HeadRows v) {
        observer.observe(layer, batch, k, v);
        DType kType = cache.config().kDtype(layer);
        DType vType = cache.config().vDtype(layer);
        if (kType.isFp8() || vType.isFp8()) {
            // A side that is not FP8 has no scale, whatever is given for it.
            Fp8Format kFormat = Fp8Format.of(kType.isFp8() ? kType : vType);
            Fp8Format vFormat = Fp8Format.of(vType.isFp8() ? vType : kType);
            cache.setScales(
                    layer,
                    observer.scales(
                            layer, amax -> settings.kScale(amax, kFormat), amax -> settings.vScale(amax, vFormat)));
        }
        cache.write(layer, batch, k, v, rope.layer(layer));
    }

    @Override
    public void close() {
        observer.close();
    }
}
