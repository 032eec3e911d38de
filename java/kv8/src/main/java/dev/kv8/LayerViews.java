package dev.kv8;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.jspecify.annotations.Nullable;

/**
 * The layers of a pool as kernels see them, with their scales on the device. Static scales are expanded to [kvHeads][headSize]
 * so that kernels know one shape. An FP8 side that is not dynamic has room for them from the start, because calibration sets
 * them later; while it has none (1.0) its view names no scales.
 */
final class LayerViews implements AutoCloseable {
    private final KvBackend backend;
    private final DeviceInfo device;
    private final KvCacheConfig config;
    private final DeviceMemory pool;
    private final CacheView[] views;
    private final KvScales.LayerScales[] scales;
    private final @Nullable DeviceMemory[] kChannels;
    private final @Nullable DeviceMemory[] vChannels;
    private final @Nullable DeviceMemory channels;

    private LayerViews(KvBackend backend, KvCacheConfig config, DeviceMemory pool) {
        this.backend = backend;
        this.device = backend.info();
        this.config = config;
        this.pool = pool;
        int layers = config.layers();
        views = new CacheView[layers];
        scales = new KvScales.LayerScales[layers];
        kChannels = new DeviceMemory[layers];
        vChannels = new DeviceMemory[layers];
        int sides = 0;
        for (int layer = 0; layer < layers; layer++) {
            LayerLayout layout = layout(layer);
            sides += (hasChannels(layout.k()) ? 1 : 0) + (hasChannels(layout.v()) ? 1 : 0);
        }
        channels = sides == 0 ? null : backend.allocate(sides * sideBytes());
        long offset = 0;
        for (int layer = 0; layer < layers && channels != null; layer++) {
            LayerLayout layout = layout(layer);
            if (hasChannels(layout.k())) {
                kChannels[layer] = channels.slice(offset, sideBytes());
                offset += sideBytes();
            }
            if (hasChannels(layout.v())) {
                vChannels[layer] = channels.slice(offset, sideBytes());
                offset += sideBytes();
            }
        }
    }

    static LayerViews create(KvBackend backend, KvCacheConfig config, DeviceMemory pool) {
        LayerViews all = new LayerViews(backend, config, pool);
        try {
            for (int layer = 0; layer < config.layers(); layer++) {
                all.set(layer, config.scales().layer(layer));
            }
            return all;
        } catch (RuntimeException e) {
            all.close();
            throw e;
        }
    }

    /** What kernels see: {@link StoredFormat} instead of the configured types. */
    private LayerLayout layout(int layer) {
        LayerLayout configured = config.layout().layer(layer, config.blocks());
        return new LayerLayout(
                configured.blocks(),
                configured.blockSize(),
                configured.kvHeads(),
                configured.headSize(),
                configured.blockStride(),
                stored(configured.k()),
                stored(configured.v()));
    }

    private LayerLayout.Side stored(LayerLayout.Side side) {
        return side.withDtype(StoredFormat.of(side.dtype(), device));
    }

    private static boolean hasChannels(LayerLayout.Side side) {
        return side.dtype().isFp8() && !side.hasRowScales();
    }

    private long sideBytes() {
        return (long) config.kvHeads() * config.headSize() * Float.BYTES;
    }

    CacheView view(int layer) {
        return views[layer];
    }

    /** The scales in force: those of sides that are not FP8 are none. */
    KvScales scales() {
        KvScales.Builder builder = KvScales.builder(config.layers(), config.kvHeads(), config.headSize());
        for (int layer = 0; layer < scales.length; layer++) {
            builder.layer(layer, scales[layer]);
        }
        return builder.build();
    }

    /** Puts a layer's scales in force; nothing may be stored in it. */
    void set(int layer, KvScales.LayerScales given) {
        given.check(layer, config.kvHeads(), config.headSize());
        LayerLayout layout = layout(layer);
        KvScales.Side k = effective("K", layer, layout.k(), given.k());
        KvScales.Side v = effective("V", layer, layout.v(), given.v());
        ChannelScales kScales = upload(
                k,
                kChannels[layer],
                StoredFormat.scaleFactor(config.kDtype(layer), layout.k().dtype()));
        ChannelScales vScales = upload(
                v,
                vChannels[layer],
                StoredFormat.scaleFactor(config.vDtype(layer), layout.v().dtype()));
        CacheView view = backend.view(pool, layout, kScales, vScales);
        if (views[layer] != null) {
            views[layer].close();
        }
        views[layer] = view;
        scales[layer] = new KvScales.LayerScales(k, v);
    }

    private static KvScales.Side effective(String name, int layer, LayerLayout.Side layout, KvScales.Side given) {
        if (!layout.dtype().isFp8()) {
            return KvScales.Side.NONE;
        }
        boolean dynamic = given.granularity() == KvScales.Granularity.DYNAMIC;
        if (dynamic != layout.hasRowScales()) {
            throw new IllegalArgumentException("The scales of " + name + " of layer " + layer + " are "
                    + (dynamic ? "dynamic" : "static") + ", but the cache was configured with "
                    + (dynamic ? "static" : "dynamic")
                    + " ones, which fixes the layout of its blocks. Choose in KvCacheConfig.scales.");
        }
        return given;
    }

    private @Nullable ChannelScales upload(KvScales.Side side, @Nullable DeviceMemory target, float factor) {
        if (target == null || (side.granularity() == KvScales.Granularity.NONE && factor == 1)) {
            return null;
        }
        ByteBuffer values = ByteBuffer.allocateDirect((int) sideBytes()).order(ByteOrder.nativeOrder());
        for (int head = 0; head < config.kvHeads(); head++) {
            for (int channel = 0; channel < config.headSize(); channel++) {
                values.putFloat(factor * side.at(head, channel, config.headSize()));
            }
        }
        backend.upload(values.flip(), target, 0);
        return new ChannelScales(target, config.headSize(), 1);
    }

    @Override
    public void close() {
        for (CacheView view : views) {
            if (view != null) {
                view.close();
            }
        }
        if (channels != null) {
            channels.close();
        }
    }
}
