package dev.kv8;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * The tiers below a {@link KvCache}, the fastest first, and how it uses them. Immutable. The stores stay the caller's: they are
 * closed after the caches that use them, and may be shared by several.
 *
 * <pre>{@code
 * KvCacheConfig.builder()...modelId(digestOfWeights)
 *     .tiers(Tiers.of(HostBlockStore.create(ByteSize.gib(8)), FileBlockStore.open(folder, ByteSize.gib(100))))
 * }</pre>
 */
public final class Tiers {
    /** No tier. */
    public static final Tiers NONE = new Builder().build();

    private final List<BlockStore> stores;
    private final Duration loadDeadline;
    private final Duration storeDeadline;
    private final @Nullable ByteSize staging;
    private final int rememberedKeys;
    private final boolean writtenOnFirstUse;
    private final double prefillTokensPerSecond;

    private Tiers(Builder builder) {
        stores = List.copyOf(builder.stores);
        loadDeadline = builder.loadDeadline;
        storeDeadline = builder.storeDeadline;
        staging = builder.staging;
        rememberedKeys = builder.rememberedKeys;
        writtenOnFirstUse = builder.writtenOnFirstUse;
        prefillTokensPerSecond = builder.prefillTokensPerSecond;
        Set<String> names = new HashSet<>();
        for (BlockStore store : stores) {
            if (!names.add(store.name())) {
                throw new IllegalArgumentException("Two tiers are named \"" + store.name()
                        + "\"; give each store once, and each a name of its own.");
            }
        }
    }

    /** These tiers, the fastest first, with default settings. */
    public static Tiers of(BlockStore... fastestFirst) {
        Builder builder = builder();
        for (BlockStore store : fastestFirst) {
            builder.add(store);
        }
        return builder.build();
    }

    /** No tiers yet, default settings. */
    public static Builder builder() {
        return new Builder();
    }

    /** The fastest first. */
    public List<BlockStore> stores() {
        return stores;
    }

    /** How long a sequence waits for its prefix at most. */
    public Duration loadDeadline() {
        return loadDeadline;
    }

    /** How long a write may take before it counts as a failure of the tier. */
    public Duration storeDeadline() {
        return storeDeadline;
    }

    /** Host memory for blocks under way, half of it for each direction; null for the default. */
    @Nullable
    ByteSize staging() {
        return staging;
    }

    int rememberedKeys() {
        return rememberedKeys;
    }

    static void checkRememberedKeys(int count) {
        if (count < 1 || count > 1 << 28) {
            throw new IllegalArgumentException("rememberedKeys is " + count + "; give 1 to " + (1 << 28) + ".");
        }
    }

    /** How many blocks in tiers are known by their tokens too: fewer, because that takes 100 bytes each. */
    int blocksKnownByTokens() {
        return Math.max(1, rememberedKeys / 4);
    }

    boolean writtenOnFirstUse() {
        return writtenOnFirstUse;
    }

    /** 0 when it is to be measured. */
    double prefillTokensPerSecond() {
        return prefillTokensPerSecond;
    }

    boolean isEmpty() {
        return stores.isEmpty();
    }

    /** Not for use by several threads. */
    public static final class Builder {
        private final List<BlockStore> stores = new ArrayList<>();
        private Duration loadDeadline = Duration.ofMillis(500);
        private Duration storeDeadline = Duration.ofSeconds(5);
        private @Nullable ByteSize staging;
        private int rememberedKeys = 1 << 17;
        private boolean writtenOnFirstUse;
        private double prefillTokensPerSecond;

        private Builder() {}

        /** A tier below those added before; it stays the caller's. */
        public Builder add(BlockStore store) {
            stores.add(store);
            return this;
        }

        /** How long a sequence waits for its prefix at most: a millisecond to an hour, by default 500 ms. */
        public Builder loadDeadline(Duration longest) {
            loadDeadline = positive("loadDeadline", longest);
            return this;
        }

        /** How long a write may take before it counts as a failure of the tier: a millisecond to an hour, by default 5 s. */
        public Builder storeDeadline(Duration longest) {
            storeDeadline = positive("storeDeadline", longest);
            return this;
        }

        private static Duration positive(String name, Duration given) {
            if (given.compareTo(Duration.ofMillis(1)) < 0 || given.compareTo(Duration.ofHours(1)) > 0) {
                throw new IllegalArgumentException(name + " is " + given + "; give a millisecond to an hour.");
            }
            return given;
        }

        /**
         * Host memory for blocks under way, half of it for each direction, allocated as needed outside of the Java heap. By default 64 MiB, or
         * eight blocks when those are larger. It bounds what can be under way.
         */
        public Builder staging(ByteSize size) {
            staging = size;
            return this;
        }

        /**
         * How many keys are remembered to tell a block's second use from its first; 131,072 by default, 33 bytes each. A quarter as many
         * blocks in tiers are known by their tokens, for {@link KvCacheConfig#partialReuse}, at some 100 bytes each.
         */
        public Builder rememberedKeys(int count) {
            checkRememberedKeys(count);
            rememberedKeys = count;
            return this;
        }

        /**
         * Whether a block goes to the tiers when it is computed instead of when it is used again. Most blocks never are: on a
         * trace of conversations writing on the second use takes a fifth of the writes, for more hits (docs/cache-manager.md). For tests, or a tier that must have everything.
         */
        public Builder writtenOnFirstUse(boolean atOnce) {
            writtenOnFirstUse = atOnce;
            return this;
        }

        /**
         * How fast the engine computes a prompt, in tokens per second. A prefix is fetched only where that is quicker than to compute it again. By default this is
         * measured from the batches; before the first long one, everything is fetched.
         */
        public Builder prefillTokensPerSecond(double rate) {
            if (!(rate > 0) || Double.isInfinite(rate)) {
                throw new IllegalArgumentException("prefillTokensPerSecond is " + rate + "; give a positive number.");
            }
            prefillTokensPerSecond = rate;
            return this;
        }

        /** @throws IllegalArgumentException when two stores have the same name */
        public Tiers build() {
            return new Tiers(this);
        }
    }
}
