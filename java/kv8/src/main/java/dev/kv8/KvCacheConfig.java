package dev.kv8;

import java.util.Arrays;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.LongSupplier;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * The shape and size of a {@link KvCache}. Immutable, for any thread. Only layers, kvHeads, headSize and either memory or blocks must be
 * given; without a dtype K and V are stored in bfloat16.
 *
 * <pre>{@code
 * KvCacheConfig.builder().layers(32).kvHeads(8).headSize(128)
 *     .dtype(KvCacheDType.FP8_E4M3).memory(ByteSize.gib(8)).build()
 * }</pre>
 */
public final class KvCacheConfig {
    private static final Set<Integer> HEAD_SIZES = new TreeSet<>(Set.of(64, 80, 96, 112, 128, 192, 256));

    private final int layers;
    private final int kvHeads;
    private final int headSize;
    private final int blockSize;
    private final int blocks;
    private final KvCacheDType kDtype;
    private final KvCacheDType vDtype;
    private final DType modelDtype;
    private final int[] skipLayers;
    private final KvScales scales;
    private final @Nullable ByteSize memory;
    private final int[] layerWindows;
    private final LayerGroups groups;
    private final PoolLayout layout;
    private final boolean prefixCaching;
    private final boolean partialReuse;
    private final EvictionPolicyKind eviction;
    private final String modelId;
    private final String salt;
    private final Tiers tiers;
    private final double watermark;
    private final double pinnedShare;
    private final LongSupplier clock;
    private final int indexHashBits;
    private final @Nullable CacheListener listener;

    private KvCacheConfig(Builder builder) {
        layers = atLeastOne("layers", builder.layers);
        kvHeads = atLeastOne("kvHeads", builder.kvHeads);
        headSize = builder.headSize;
        if (!HEAD_SIZES.contains(headSize)) {
            throw new IllegalArgumentException("headSize is " + headSize + "; the kernels have "
                    + HEAD_SIZES.stream().map(String::valueOf).collect(Collectors.joining(", ")) + ".");
        }
        blockSize = builder.blockSize;
        if (blockSize < 8 || blockSize > 128 || blockSize % 8 != 0) {
            throw new IllegalArgumentException("blockSize is " + blockSize + "; give a multiple of 8 from 8 to 128.");
        }
        kDtype = builder.kDtype;
        vDtype = builder.vDtype;
        modelDtype = builder.modelDtype;
        if (modelDtype.isFp8()) {
            throw new IllegalArgumentException(
                    "modelDtype is " + modelDtype + "; a model computes in float32, float16 or bfloat16.");
        }
        skipLayers = Arrays.stream(builder.skipLayers).sorted().distinct().toArray();
        for (int layer : skipLayers) {
            if (layer < 0 || layer >= layers) {
                throw new IllegalArgumentException(
                        "skipLayers names layer " + layer + "; this cache has layers 0 to " + (layers - 1) + ".");
            }
        }
        scales = builder.scales == null ? KvScales.none(layers) : builder.scales;
        checkScales();
        layerWindows = windowsOf(builder, layers);
        groups = LayerGroups.of(blockSize, layerWindows);
        layout = makeLayout();
        memory = builder.memory;
        prefixCaching = builder.prefixCaching;
        partialReuse = builder.partialReuse;
        eviction = builder.eviction;
        modelId = builder.modelId;
        salt = builder.salt;
        tiers = builder.tiers;
        listener = builder.listener;
        checkTiers();
        watermark = share("watermark", builder.watermark);
        pinnedShare = share("pinnedShare", builder.pinnedShare);
        clock = builder.clock;
        indexHashBits = builder.indexHashBits;
        blocks = memory == null ? atLeastOne("blocks", builder.blocks) : blocksIn(memory);
        if (blocks > Long.MAX_VALUE / layout.blockBytes()) {
            throw new IllegalArgumentException("blocks is " + blocks + "; that many of " + layout.blockBytes()
                    + " bytes are more than an address space holds.");
        }
        if (memory != null && builder.blocks != 0) {
            throw new IllegalArgumentException(
                    "Give memory or blocks, not both (memory is " + memory + ", blocks is " + builder.blocks + ").");
        }
    }

    private static int[] windowsOf(Builder builder, int layers) {
        if (builder.window < 0) {
            throw new IllegalArgumentException(
                    "window is " + builder.window + "; give 0 for none, or the number of keys that a query sees.");
        }
        int[] given = builder.layerWindows;
        if (given == null) {
            int[] windows = new int[layers];
            Arrays.fill(windows, builder.window);
            return windows;
        }
        if (builder.window != 0) {
            throw new IllegalArgumentException(
                    "Give window or layerWindows, not both (window is " + builder.window + ").");
        }
        if (given.length != layers) {
            throw new IllegalArgumentException("layerWindows has " + given.length + " windows for " + layers
                    + " layers; give one for each, 0 where there is none.");
        }
        for (int layer = 0; layer < layers; layer++) {
            if (given[layer] < 0) {
                throw new IllegalArgumentException("The window of layer " + layer + " is " + given[layer]
                        + "; give 0 for none, or the number of keys that a query sees.");
            }
        }
        return given;
    }

    private void checkTiers() {
        if (tiers.isEmpty()) {
            return;
        }
        if (!prefixCaching) {
            throw new IllegalArgumentException(
                    "tiers keep prefixes, but prefixCaching is false; give only one of them.");
        }
        if (modelId.isEmpty()) {
            throw new IllegalArgumentException(
                    "tiers outlive a process and may be shared, so they need to know whose blocks"
                            + " they keep: give modelId(...), a name or digest of the model and its weights.");
        }
        if (layout.blockBytes() > Integer.MAX_VALUE - BlockFrame.HEADER) {
            throw new IllegalArgumentException("A block is " + ByteSize.of(layout.blockBytes())
                    + "; tiers take blocks of less than 2 GiB. Give a smaller blockSize.");
        }
        ByteSize staging = tiers.staging();
        long least = 4 * (layout.blockBytes() + BlockFrame.HEADER);
        if (staging != null && staging.bytes() < least) {
            throw new IllegalArgumentException("The tiers' staging is " + staging + "; it holds at least four blocks, "
                    + ByteSize.of(least) + ", two for each direction.");
        }
    }

    private static int atLeastOne(String name, int value) {
        if (value < 1) {
            throw new IllegalArgumentException(name + " is " + value + "; "
                    + (name.equals("blocks") ? "give memory(...) or blocks(...), " : "") + "it must be at least 1.");
        }
        return value;
    }

    private static double share(String name, double value) {
        if (!(value >= 0 && value <= 1)) {
            throw new IllegalArgumentException(name + " is " + value + "; give a share of the pool, from 0 to 1.");
        }
        return value;
    }

    private void checkScales() {
        if (scales.layers() != layers) {
            throw new IllegalArgumentException(
                    "The scales are for " + scales.layers() + " layers, the cache has " + layers + ".");
        }
        for (int layer = 0; layer < layers; layer++) {
            scales.layer(layer).check(layer, kvHeads, headSize);
        }
    }

    private PoolLayout makeLayout() {
        DType[] k = new DType[layers];
        DType[] v = new DType[layers];
        boolean[] kRows = new boolean[layers];
        boolean[] vRows = new boolean[layers];
        for (int layer = 0; layer < layers; layer++) {
            boolean skipped = Arrays.binarySearch(skipLayers, layer) >= 0;
            k[layer] = skipped ? modelDtype : kDtype.resolve(modelDtype);
            v[layer] = skipped ? modelDtype : vDtype.resolve(modelDtype);
            kRows[layer] = k[layer].isFp8() && isDynamic(scales.layer(layer).k());
            vRows[layer] = v[layer].isFp8() && isDynamic(scales.layer(layer).v());
        }
        return new PoolLayout(groups, blockSize, kvHeads, headSize, k, v, kRows, vRows);
    }

    private static boolean isDynamic(KvScales.Side side) {
        return side.granularity() == KvScales.Granularity.DYNAMIC;
    }

    private int blocksIn(ByteSize given) {
        long fit = given.bytes() / layout.blockBytes();
        if (fit < 1) {
            throw new IllegalArgumentException("memory is " + given + "; one block of " + blockSize + " tokens takes "
                    + layout.blockBytes() + " bytes.");
        }
        return (int) Math.min(fit, Integer.MAX_VALUE);
    }

    /** Nothing given yet but defaults. */
    public static Builder builder() {
        return new Builder();
    }

    /** Layers that have a cache. */
    public int layers() {
        return layers;
    }

    /** Heads of K in a layer, and as many of V. */
    public int kvHeads() {
        return kvHeads;
    }

    /** Elements of a K or V row. */
    public int headSize() {
        return headSize;
    }

    /** Tokens in a block. */
    public int blockSize() {
        return blockSize;
    }

    /** Blocks of the pool: as given, or as many as fit in {@link #memory}. */
    public int blocks() {
        return blocks;
    }

    /** The memory given, or what the given blocks take. */
    public ByteSize memory() {
        return memory == null ? ByteSize.of(blocks * blockBytes()) : memory;
    }

    /** As given for K; {@link #kDtype(int)} has what a layer stores. */
    public KvCacheDType kDtype() {
        return kDtype;
    }

    /** As given for V; {@link #vDtype(int)} has what a layer stores. */
    public KvCacheDType vDtype() {
        return vDtype;
    }

    /**
     * The type of both K and V.
     *
     * @throws IllegalStateException when they differ
     */
    public KvCacheDType dtype() {
        if (kDtype != vDtype) {
            throw new IllegalStateException(
                    "K is " + kDtype + " and V is " + vDtype + "; ask for kDtype() or vDtype().");
        }
        return kDtype;
    }

    /** What {@code layer} stores K in. */
    public DType kDtype(int layer) {
        return layout.kDtype(layer);
    }

    /** What {@code layer} stores V in. */
    public DType vDtype(int layer) {
        return layout.vDtype(layer);
    }

    /** What {@code auto} and skipped layers are stored in. */
    public DType modelDtype() {
        return modelDtype;
    }

    /** Ascending; a copy. */
    public int[] skipLayers() {
        return skipLayers.clone();
    }

    /** As given, for FP8 layers; {@link KvCache#setScales} changes the cache's, not these. */
    public KvScales scales() {
        return scales;
    }

    /** Keys that a query of any layer sees at most, its own included; 0 = all. */
    public int window() {
        return groups.window(0);
    }

    /** Keys that a query of {@code layer} sees at most, its own included; 0 = all. */
    public int window(int layer) {
        return layerWindows[layer];
    }

    /**
     * Groups of layers with blocks of their own; 1 when a block has all layers, as it has unless {@link Builder#layerWindows} says
     * that they differ.
     */
    public int layerGroups() {
        return groups.count();
    }

    LayerGroups groups() {
        return groups;
    }

    /** Whether new sequences share stored blocks of the same tokens. */
    public boolean prefixCaching() {
        return prefixCaching;
    }

    /** Whether a new sequence copies the beginning of a stored block that goes on with other tokens than its own. */
    public boolean partialReuse() {
        return partialReuse;
    }

    /** Which cached block makes room. */
    public EvictionPolicyKind eviction() {
        return eviction;
    }

    /** Which model computes K and V; part of every prefix's key. Empty when none was given. */
    public String modelId() {
        return modelId;
    }

    /** Keeps prefixes of different owners apart; part of every prefix's key. Empty when none was given. */
    public String salt() {
        return salt;
    }

    /** What keeps blocks that the pool has no room for; {@link Tiers#NONE} by default. */
    public Tiers tiers() {
        return tiers;
    }

    /** The share of the pool that {@link KvCache#canAdmit} keeps for the growth of running sequences. */
    public double watermark() {
        return watermark;
    }

    /** {@link #watermark} in whole blocks, rounded down. */
    public int watermarkBlocks() {
        return (int) (watermark * blocks);
    }

    /** The share of the pool that may be pinned. */
    public double pinnedShare() {
        return pinnedShare;
    }

    /** {@link #pinnedShare} in whole blocks, rounded down. */
    public int pinnableBlocks() {
        return (int) (pinnedShare * blocks);
    }

    /** Nanoseconds that never decrease; time limits are measured by them. */
    LongSupplier clock() {
        return clock;
    }

    /** See {@link PrefixIndex#PrefixIndex(int, int)}. */
    int indexHashBits() {
        return indexHashBits;
    }

    /** Who hears which blocks can be found in the pool; null when nobody does. */
    public @Nullable CacheListener listener() {
        return listener;
    }

    /** Bytes of one block, the row scales of dynamic layers included: over all layers, or those of one {@linkplain #layerGroups group}. */
    public long blockBytes() {
        return layout.blockBytes();
    }

    /** Bytes that one token takes over all layers, while none has forgotten it. */
    public double bytesPerToken() {
        return (double) groups.count() * blockBytes() / blockSize;
    }

    PoolLayout layout() {
        return layout;
    }

    @Override
    public String toString() {
        String dtypes = kDtype == vDtype ? kDtype.label() : kDtype + "/" + vDtype;
        return "KvCacheConfig[" + layers + " layers, " + kvHeads + " KV heads of " + headSize + ", " + dtypes + " ("
                + Stream.of(layout.dtypes()).map(DType::label).collect(Collectors.joining(", ")) + "), " + blocks
                + " blocks of " + blockSize + " tokens, " + ByteSize.of(blocks * blockBytes()) + "]";
    }

    /** Needs layers, kvHeads, headSize, and either memory or blocks. Not for use by several threads. */
    public static final class Builder {
        private int layers;
        private int kvHeads;
        private int headSize;
        private int blockSize = 16;
        private int blocks;
        private KvCacheDType kDtype = KvCacheDType.AUTO;
        private KvCacheDType vDtype = KvCacheDType.AUTO;
        private DType modelDtype = DType.BFLOAT16;
        private int[] skipLayers = {};
        private @Nullable KvScales scales;
        private @Nullable ByteSize memory;
        private int window;
        private int @Nullable [] layerWindows;
        private boolean prefixCaching = true;
        private boolean partialReuse = true;
        private EvictionPolicyKind eviction = EvictionPolicyKind.DEFAULT;
        private String modelId = "";
        private String salt = "";
        private Tiers tiers = Tiers.NONE;
        private double watermark = 0.01;
        private double pinnedShare = 0.5;
        private LongSupplier clock = System::nanoTime;
        private int indexHashBits = Integer.SIZE;
        private @Nullable CacheListener listener;

        private Builder() {}

        /** Layers that have a cache, at least 1. */
        public Builder layers(int count) {
            layers = count;
            return this;
        }

        /** Heads of K in a layer, and as many of V; at least 1. */
        public Builder kvHeads(int count) {
            kvHeads = count;
            return this;
        }

        /** Elements of a head of K or V: 64, 80, 96, 112, 128, 192 or 256. */
        public Builder headSize(int elements) {
            headSize = elements;
            return this;
        }

        /** Of both K and V; {@code auto} by default. */
        public Builder dtype(KvCacheDType dtype) {
            kDtype = dtype;
            vDtype = dtype;
            return this;
        }

        /** Of K alone. */
        public Builder kDtype(KvCacheDType dtype) {
            kDtype = dtype;
            return this;
        }

        /** Of V alone. */
        public Builder vDtype(KvCacheDType dtype) {
            vDtype = dtype;
            return this;
        }

        /** What {@code auto} means: float32, float16 or bfloat16 (the default). */
        public Builder modelDtype(DType dtype) {
            modelDtype = dtype;
            return this;
        }

        /** Layers that are stored in the model's type whatever the others are. */
        public Builder skipLayers(int... layers) {
            skipLayers = layers.clone();
            return this;
        }

        /** Of FP8 layers; 1.0 by default. */
        public Builder scales(KvScales scales) {
            this.scales = scales;
            return this;
        }

        /** Tokens in a block: a multiple of 8 from 8 to 128, by default 16. */
        public Builder blockSize(int tokens) {
            blockSize = tokens;
            return this;
        }

        /** The pool's size on the device, all layers together; as many whole blocks as fit are allocated. Instead of {@link #blocks}. */
        public Builder memory(ByteSize size) {
            memory = size;
            return this;
        }

        /** The pool's size in blocks, instead of {@link #memory}. */
        public Builder blocks(int count) {
            blocks = count;
            return this;
        }

        /**
         * For a model whose layers all have a sliding window: keys that a query sees, its own included; 0, the default, for all.
         * A sequence gives blocks back that fell out of the window, so it holds at most the window and what a step adds. Where only
         * some layers have a window, give {@link #layerWindows}. Attention without a window, or with a larger one, is
         * refused.
         */
        public Builder window(int keys) {
            window = keys;
            return this;
        }

        /**
         * For a model that mixes windows, or layers with and without one: keys that a query of each layer sees, its own included; 0
         * for all. Layers of one window get blocks of their own, and give back what fell out of it while the others keep theirs.
         * All blocks have one size, so {@link #blocks} counts smaller ones: a token that no layer has forgotten takes a place in
         * {@link KvCacheConfig#layerGroups} of them. When all layers have the same window it is as {@link #window(int)}.
         *
         * <p>With several groups {@link #partialReuse} has no effect.
         */
        public Builder layerWindows(int... keys) {
            layerWindows = keys.clone();
            return this;
        }

        /**
         * Whether a new sequence shares the blocks that are stored for the same tokens; true by default. Without it every token
         * of every sequence is computed, which an observer of K and V needs.
         */
        public Builder prefixCaching(boolean shared) {
            prefixCaching = shared;
            return this;
        }

        /**
         * Whether a new sequence also gets a copy of a stored block that begins with the same tokens as its next one, 8 or half a
         * block of them or more; true by default. The copy is a block of its own, made on the device, and gives the bits that computing
         * gives. It costs a copy of one block for each sequence opened with such a prompt, and memory on the Java heap: the
         * block's tokens and 12 to 16 bytes for each block. No effect without {@link #prefixCaching}.
         */
        public Builder partialReuse(boolean copied) {
            partialReuse = copied;
            return this;
        }

        /** Which of the cached blocks makes room when none is free: {@code arc} by default, or {@code lru}. */
        public Builder eviction(EvictionPolicyKind kind) {
            eviction = kind;
            return this;
        }

        /** A name or digest of the model and its weights: prefixes of one are never taken for another's. */
        public Builder modelId(String id) {
            modelId = id;
            return this;
        }

        /** Of a tenant or session, say: prefixes are shared only under the same salt. */
        public Builder salt(String text) {
            salt = text;
            return this;
        }

        /** Where blocks go and come from beside the pool: host memory, files, Valkey or Redis. Needs a {@link #modelId}. */
        public Builder tiers(Tiers below) {
            tiers = below;
            return this;
        }

        /**
         * How much of the pool stays free when a sequence is admitted beside others, so that those can grow before one has to give
         * its blocks back: 0 to 1, by default 0.01.
         */
        public Builder watermark(double share) {
            watermark = share;
            return this;
        }

        /** How much of the pool {@link Sequence#pin()} may take away from eviction: 0 to 1, by default 0.5. */
        public Builder pinnedShare(double share) {
            pinnedShare = share;
            return this;
        }

        Builder clock(LongSupplier nanoseconds) {
            clock = nanoseconds;
            return this;
        }

        Builder indexHashBits(int bits) {
            indexHashBits = bits;
            return this;
        }

        /**
         * Who hears which blocks can be found in the pool; nobody by default. Without {@link #prefixCaching} there is nothing to
         * hear. A listener hears one cache: give each cache a configuration with one of its own.
         */
        public Builder listener(CacheListener router) {
            listener = router;
            return this;
        }

        /**
         * Checks everything.
         *
         * @throws IllegalArgumentException naming the setting, its value and what is allowed
         */
        public KvCacheConfig build() {
            return new KvCacheConfig(this);
        }
    }
}
