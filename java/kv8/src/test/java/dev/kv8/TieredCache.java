package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import dev.kv8.KvScales.LayerScales;
import dev.kv8.KvScales.Side;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.function.BooleanSupplier;

/**
 * A small cache above tiers, whose content is a function of the tokens: layer 0 has static scales, layer 1 has row scales for K, V
 * is float32. Whatever way a block came in, its rows must read back as that function says.
 */
final class TieredCache implements AutoCloseable {
    static final int LAYERS = 2;
    static final int BLOCK_SIZE = 8;
    private static final int MAX_ROWS = 512;

    final InMemoryBackend backend;
    final KvCache cache;
    private final Batch batch;
    private final HeadRows k;
    private final HeadRows v;
    private final DeviceMemory slots;

    TieredCache(int blocks, Tiers tiers) {
        this(true, config(blocks, tiers).build());
    }

    TieredCache(boolean hostAccessible, KvCacheConfig config) {
        this(new InMemoryBackend(hostAccessible), config);
    }

    TieredCache(InMemoryBackend backend, KvCacheConfig config) {
        this.backend = backend;
        cache = KvCache.create(backend, config);
        batch = cache.batch();
        k = rows();
        v = rows();
        slots = backend.allocate(MAX_ROWS * 8L);
    }

    static KvCacheConfig.Builder config(int blocks, Tiers tiers) {
        KvScales scales = KvScales.builder(LAYERS, TokenContent.KV_HEADS, TokenContent.HEAD_SIZE)
                .layer(1, new LayerScales(Side.DYNAMIC, Side.NONE))
                .build();
        return KvCacheConfig.builder()
                .layers(LAYERS)
                .kvHeads(TokenContent.KV_HEADS)
                .headSize(TokenContent.HEAD_SIZE)
                .kDtype(KvCacheDType.FP8)
                .vDtype(KvCacheDType.FLOAT32)
                .scales(scales)
                .blockSize(BLOCK_SIZE)
                .blocks(blocks)
                .eviction(EvictionPolicyKind.LRU)
                .modelId("test")
                .tiers(tiers);
    }

    static int frameBytes() {
        return Math.toIntExact(config(1, Tiers.NONE).build().blockBytes()) + BlockFrame.HEADER;
    }

    /** Tiers that are always worth asking, and are waited for as long as a test may take: a busy machine may stand still for seconds. */
    static Tiers.Builder tiers(BlockStore... stores) {
        Tiers.Builder tiers = Tiers.builder()
                .prefillTokensPerSecond(1)
                .loadDeadline(Duration.ofMinutes(2))
                .storeDeadline(Duration.ofMinutes(2));
        for (BlockStore store : stores) {
            tiers.add(store);
        }
        return tiers;
    }

    private HeadRows rows() {
        DeviceMemory memory =
                backend.allocate((long) MAX_ROWS * TokenContent.KV_HEADS * TokenContent.HEAD_SIZE * Float.BYTES);
        return HeadRows.of(memory, DType.FLOAT32, TokenContent.KV_HEADS, TokenContent.HEAD_SIZE);
    }

    /** A prompt whose whole blocks are told apart by {@code seed}. */
    static int[] prompt(int seed, int tokens) {
        int[] prompt = new int[tokens];
        Arrays.setAll(prompt, i -> seed * 1000 + i);
        return prompt;
    }

    /** Opens, waits for the tiers, computes the rest, checks everything and closes; the tokens that were not computed. */
    int serve(int[] prompt) {
        try (Sequence sequence = cache.open(prompt)) {
            sequence.awaitLoaded();
            compute(sequence);
            checkContent(sequence);
            return sequence.cachedTokens();
        }
    }

    void compute(Sequence sequence) {
        add(sequence);
        write(sequence);
        commit();
    }

    /** What the engine asks of the manager before the kernels of a step. */
    void add(Sequence sequence) {
        if (!batch.add(sequence)) {
            throw new AssertionError("no room: " + cache.stats());
        }
    }

    /** The kernels: K and V of what was added. */
    void write(Sequence sequence) {
        List<Integer> tokens = tokens(sequence);
        long[] prefixes = TokenContent.prefixes(tokens);
        int from = sequence.computedTokens();
        for (int layer = 0; layer < LAYERS; layer++) {
            ByteBuffer kRows = buffer(batch.tokens());
            ByteBuffer vRows = buffer(batch.tokens());
            for (int p = from; p < tokens.size(); p++) {
                for (int head = 0; head < TokenContent.KV_HEADS; head++) {
                    for (int d = 0; d < TokenContent.HEAD_SIZE; d++) {
                        kRows.putFloat(TokenContent.k(layer, prefixes[p], head, d));
                        vRows.putFloat(TokenContent.v(layer, prefixes[p], head, d));
                    }
                }
            }
            backend.upload(kRows.flip(), k.memory(), 0);
            backend.upload(vRows.flip(), v.memory(), 0);
            cache.write(layer, batch, k, v);
        }
    }

    void commit() {
        batch.commit();
    }

    private static List<Integer> tokens(Sequence sequence) {
        Integer[] tokens = new Integer[sequence.length()];
        Arrays.setAll(tokens, sequence::token);
        return List.of(tokens);
    }

    private static ByteBuffer buffer(int tokens) {
        int floats = tokens * TokenContent.KV_HEADS * TokenContent.HEAD_SIZE;
        return ByteBuffer.allocateDirect(floats * Float.BYTES).order(ByteOrder.nativeOrder());
    }

    /** Every computed row that has not fallen out of its window reads back as it should. */
    void checkContent(Sequence sequence) {
        int computed = sequence.computedTokens();
        long[] prefixes = TokenContent.prefixes(tokens(sequence));
        ByteBuffer places = ByteBuffer.allocateDirect(computed * 8).order(ByteOrder.nativeOrder());
        for (int layer = 0; layer < LAYERS; layer++) {
            int group = cache.config().groups().of(layer);
            int first = BLOCK_SIZE * sequence.table.gone(group);
            places.clear();
            for (int p = first; p < computed; p++) {
                places.putLong((long) sequence.table.block(p / BLOCK_SIZE, group) * BLOCK_SIZE + p % BLOCK_SIZE);
            }
            backend.upload(places.flip(), slots, 0);
            CacheView view = backend.viewOf(
                    cache.config().layout().layer(layer, cache.config().blocks()));
            backend.gather(view, k, v, computed - first, slots);
            FloatBuffer kRows = read(k.memory(), computed - first);
            FloatBuffer vRows = read(v.memory(), computed - first);
            for (int p = first; p < computed; p++) {
                for (int head = 0; head < TokenContent.KV_HEADS; head++) {
                    for (int d = 0; d < TokenContent.HEAD_SIZE; d++) {
                        float gotK = kRows.get();
                        float gotV = vRows.get();
                        if (gotK != TokenContent.k(layer, prefixes[p], head, d)
                                || gotV != TokenContent.v(layer, prefixes[p], head, d)) {
                            throw new AssertionError("Wrong bytes: layer " + layer + ", position " + p + " of "
                                    + computed
                                    + " (" + sequence.cachedTokens() + " cached), head " + head + ", channel " + d
                                    + ": K is " + gotK + ", V is " + gotV);
                        }
                    }
                }
            }
        }
    }

    private FloatBuffer read(DeviceMemory memory, int tokens) {
        ByteBuffer bytes = buffer(tokens);
        backend.download(memory, 0, bytes);
        return bytes.asFloatBuffer();
    }

    TierStats tier(int index) {
        return cache.tierStats().get(index);
    }

    /** Lets everything that is noted or under way end. */
    void settle() {
        await(() -> !cache.poll());
    }

    /** Uses up the pool's blocks with other prompts. */
    void evictAll() {
        int seed = 100;
        long end = cache.stats().evictedBlocks()
                + (long) cache.config().layerGroups() * cache.config().blocks();
        while (cache.stats().evictedBlocks() < end) {
            serve(prompt(seed++, 41));
        }
        settle();
    }

    /** A load ends for the cache a moment before the store's thread gives its last frame back. */
    void awaitFrames() {
        await(() -> cache.framesInUse() == 0);
    }

    /** Nothing is under way any more, and nobody holds a block or a frame. */
    void checkIdle() {
        settle();
        awaitFrames();
        assertThat(cache.stats().freeBlocks())
                .as("blocks that nobody holds")
                .isEqualTo(cache.config().blocks());
        cache.ledger().pool().checkInvariants();
    }

    /** For two minutes at most, as a busy machine may stand still for half of one; -Dkv8.patience=N has it be N seconds. */
    static void await(BooleanSupplier condition) {
        long end = System.nanoTime() + Long.getLong("kv8.patience", 120) * 1_000_000_000L;
        while (!condition.getAsBoolean()) {
            assertThat(System.nanoTime()).as("waited too long").isLessThan(end);
            Thread.onSpinWait();
        }
    }

    @Override
    public void close() {
        cache.close();
        k.memory().close();
        v.memory().close();
        slots.close();
    }
}
