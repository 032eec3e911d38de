package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.kv8.CacheOracle.Entry;
import dev.kv8.KvScales.LayerScales;
import dev.kv8.KvScales.Side;
import dev.kv8.PoolOracle.Block;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import org.jspecify.annotations.Nullable;

/**
 * A small cache beside its oracle: two layers, K in FP8 without and with row scales, V in float32. Drives steps with known
 * content and compares everything that can be seen.
 */
final class CacheUnderTest implements AutoCloseable {
    static final int LAYERS = 2;
    static final int BLOCK_SIZE = 8;
    static final int BLOCKS = 20;
    /** A cache whose layers have blocks of their own has more of them. */
    private static final int MAX_ROWS = 2 * BLOCKS * BLOCK_SIZE;

    /** A sequence and what it should be. */
    record Tracked(Sequence sequence, Entry entry) {}

    /** A pin and the blocks that it should hold. */
    record Pinned(PinnedPrefix pin, List<@Nullable Block[]> blocks) {}

    /** A sequence in host memory and what it was. */
    record Away(SwappedSequence swapped, Entry entry) {}

    /** A file of a sequence, what that was, and of which weights. */
    record Saved(Path file, Entry entry, String weights) {}

    /** A batch and what it should hold. */
    record Step(Batch batch, List<Tracked> added) {}

    final InMemoryBackend backend;
    final KvCache cache;
    /** Made from the cache's events alone. */
    final IndexMirror mirror = new IndexMirror(BLOCK_SIZE);

    private final LayerGroups groups;
    final CacheOracle oracle;
    /** Open ones, and closed ones that are in a step. */
    final List<Tracked> tracked = new ArrayList<>();

    final List<Pinned> pins = new ArrayList<>();

    final List<Away> away = new ArrayList<>();

    final List<Saved> saved = new ArrayList<>();

    private long nanos;
    private final HeadRows k;
    private final HeadRows v;
    private final HeadRows q;
    private final HeadRows out;
    private final DeviceMemory slots;
    private String weights = "";

    private final Map<PoolOracle.Prefix, long[]> keys = new HashMap<>();

    CacheUnderTest(boolean hostAccessible) {
        this(hostAccessible, Integer.SIZE);
    }

    /** {@code hashBits} of a key decide where the index looks for it. */
    CacheUnderTest(boolean hostAccessible, int hashBits) {
        this(hostAccessible, hashBits, false);
    }

    CacheUnderTest(boolean hostAccessible, int hashBits, boolean partialReuse) {
        this(hostAccessible, hashBits, EvictionPolicyKind.LRU, partialReuse, 0, 0);
    }

    /** @param windows of the layers, 0 for all keys; when they differ, each layer has blocks of its own, and there are 40 instead of 20 */
    CacheUnderTest(
            boolean hostAccessible, int hashBits, EvictionPolicyKind eviction, boolean partialReuse, int... windows) {
        backend = new InMemoryBackend(hostAccessible);
        KvScales scales = KvScales.builder(LAYERS, TokenContent.KV_HEADS, TokenContent.HEAD_SIZE)
                .layer(1, new LayerScales(Side.DYNAMIC, Side.NONE))
                .build();
        cache = KvCache.create(
                backend,
                KvCacheConfig.builder()
                        .layers(LAYERS)
                        .kvHeads(TokenContent.KV_HEADS)
                        .headSize(TokenContent.HEAD_SIZE)
                        .kDtype(KvCacheDType.FP8)
                        .vDtype(KvCacheDType.FLOAT32)
                        .scales(scales)
                        .blockSize(BLOCK_SIZE)
                        .modelId("a model")
                        .partialReuse(partialReuse)
                        .eviction(eviction)
                        .watermark(0.1)
                        .clock(() -> nanos)
                        .indexHashBits(hashBits)
                        .layerWindows(windows)
                        .blocks(windows[0] == windows[1] ? BLOCKS : 2 * BLOCKS)
                        .listener(mirror)
                        .build());
        groups = cache.config().groups();
        oracle = new CacheOracle(cache.config().blocks(), BLOCK_SIZE, eviction, partialReuse, groups.windows());
        k = rows(TokenContent.KV_HEADS);
        v = rows(TokenContent.KV_HEADS);
        q = rows(TokenContent.QUERY_HEADS);
        out = rows(TokenContent.QUERY_HEADS);
        slots = backend.allocate(MAX_ROWS * 8L);
    }

    private HeadRows rows(int heads) {
        DeviceMemory memory = backend.allocate((long) MAX_ROWS * heads * TokenContent.HEAD_SIZE * 4);
        return HeadRows.of(memory, DType.FLOAT32, heads, TokenContent.HEAD_SIZE);
    }

    /** Opens after asking whether it may; what it takes over must hold what its tokens would have stored. */
    Tracked open(SequenceOptions options, List<Integer> tokens, int maxNewTokens) {
        int[] ids = tokens.stream().mapToInt(Integer::intValue).toArray();
        assertThat(cache.canAdmit(options, ids, maxNewTokens))
                .isEqualTo(oracle.canAdmit(
                        options, tokens, maxNewTokens, cache.config().watermarkBlocks()));
        Tracked opened = track(cache.open(options, ids), oracle.open(options, tokens));
        assertThat(opened.sequence().cachedTokens()).as("cached of %s", tokens).isEqualTo(opened.entry().computed);
        checkContent(opened);
        return opened;
    }

    /** What it takes over must hold what its tokens would have stored; and whether it is to wait is known. */
    void catchUp(Tracked one) {
        boolean expected = oracle.catchUp(one.entry());
        assertThat(one.sequence().catchUp()).as("it is up to this one").isEqualTo(expected);
        assertThat(one.sequence().cachedTokens()).isEqualTo(one.entry().cached);
        checkContent(one);
    }

    /** In ticks of the cache's clock. */
    void pass(long ticks) {
        nanos += ticks << 20;
        oracle.pool.now += ticks;
    }

    /** False when it should be, and was, refused. */
    boolean pin(Tracked one, int tokens) {
        List<@Nullable Block[]> expected = oracle.pinnable(one.entry(), tokens);
        Set<Block> all = oracle.pinned();
        CacheOracle.blocks(expected).forEach(all::add);
        if (expected.isEmpty() || all.size() > cache.config().pinnableBlocks()) {
            assertThatThrownBy(() -> one.sequence().pin(tokens))
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining(expected.isEmpty() ? "nothing to pin" : "more don't fit");
            return false;
        }
        pins.add(new Pinned(one.sequence().pin(tokens), oracle.pin(one.entry(), tokens)));
        assertThat(pins.get(pins.size() - 1).pin().blocks())
                .isEqualTo((int) CacheOracle.blocks(expected).count());
        return true;
    }

    void unpin(Pinned one) {
        one.pin().close();
        oracle.unpin(one.blocks());
        pins.remove(one);
    }

    Tracked fork(Tracked from) {
        return track(from.sequence().fork(), oracle.fork(from.entry()));
    }

    /** A step of beam search; content is what it was. */
    void reorder(List<Tracked> beam, int... parents) {
        cache.reorder(beam.stream().map(Tracked::sequence).toArray(Sequence[]::new), parents);
        oracle.reorder(beam.stream().map(Tracked::entry).toList(), parents);
        beam.forEach(this::checkContent);
    }

    private Tracked track(Sequence sequence, Entry entry) {
        Tracked one = new Tracked(sequence, entry);
        tracked.add(one);
        return one;
    }

    void close(Tracked one, ReleaseHint hint) {
        one.sequence().close(hint);
        closed(one, hint);
    }

    /** As {@link #close}, by a thread that is not the writer. */
    void closeElsewhere(Tracked one, ReleaseHint hint) {
        CompletableFuture.runAsync(() -> one.sequence().close(hint)).join();
        closed(one, hint);
    }

    /** As {@link #closeElsewhere}, because nobody wants its result. */
    void cancel(Tracked one) {
        CompletableFuture.runAsync(one.sequence()::cancel).join();
        closed(one, ReleaseHint.KEEP);
    }

    private void closed(Tracked one, ReleaseHint hint) {
        oracle.close(one.entry(), hint);
        if (one.entry().scheduled == 0) {
            tracked.remove(one);
        }
    }

    /** What lies in host memory. */
    void swapOut(Tracked one) {
        away.add(new Away(cache.swapOut(one.sequence()), oracle.away(one.entry())));
        closed(one, ReleaseHint.KEEP);
    }

    void swapIn(Away one) {
        Entry expected = oracle.restore(one.entry());
        Optional<Sequence> back = cache.swapIn(one.swapped());
        assertThat(back.isPresent()).isEqualTo(expected != null);
        if (expected != null) {
            away.remove(one);
            checkContent(track(back.orElseThrow(), expected));
        }
    }

    void save(Tracked one, Path file) throws IOException {
        cache.save(one.sequence(), file);
        saved.add(new Saved(file, oracle.away(one.entry()), weights));
    }

    boolean isOfPresentWeights(Saved one) {
        return one.weights().equals(weights);
    }

    /** It is refused under other weights, with another salt and where there is no room; false then. */
    boolean restore(Saved one, SequenceOptions options) throws IOException {
        if (!isOfPresentWeights(one)
                || !options.salt().equals(one.entry().options.salt())) {
            assertThatThrownBy(() -> cache.restore(options, one.file())).isInstanceOf(SequenceFileException.class);
            return false;
        }
        Entry expected = oracle.restoreOwn(one.entry(), options);
        if (expected == null) {
            assertThatThrownBy(() -> cache.restore(options, one.file()))
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining("are free");
            return false;
        }
        checkContent(track(cache.restore(options, one.file()), expected));
        return true;
    }

    void clearPrefixes() {
        oracle.clearPrefixes();
        weights = "weights " + oracle.epoch;
        keys.clear();
        cache.clearPrefixes(weights);
    }

    void truncate(Tracked one, int length) {
        if (length != 0 && length < oracle.leastLength(one.entry())) {
            assertThatThrownBy(() -> one.sequence().truncate(length))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("what the next one sees has been given back");
            return;
        }
        one.sequence().truncate(length);
        oracle.truncate(one.entry(), length);
    }

    boolean add(Step step, Tracked one, int count) {
        boolean expected = oracle.reserve(one.entry(), count);
        assertThat(step.batch().add(one.sequence(), count))
                .as("add of %d tokens at %d computed", count, one.entry().computed)
                .isEqualTo(expected);
        if (expected) {
            step.added().add(one);
        }
        return expected;
    }

    void settle(Step step, boolean computed) {
        if (computed) {
            step.batch().commit();
        } else {
            step.batch().clear();
        }
        for (Tracked one : step.added()) {
            oracle.settle(one.entry(), computed);
            if (one.entry().closed) {
                tracked.remove(one);
            }
        }
        step.added().clear();
    }

    // ---- a step's metadata, write and attention

    void checkMetadata(Step step) {
        Batch batch = step.batch();
        assertThat(batch.sequences()).isEqualTo(step.added().size());
        List<Integer> ids = new ArrayList<>();
        List<Integer> positions = new ArrayList<>();
        List<List<Long>> places = new ArrayList<>();
        for (int layer = 0; layer < LAYERS; layer++) {
            places.add(new ArrayList<>());
        }
        for (int i = 0; i < step.added().size(); i++) {
            Tracked one = step.added().get(i);
            Entry entry = one.entry();
            for (int p = entry.computed; p < entry.computed + entry.scheduled; p++) {
                ids.add(entry.tokens.get(p));
                positions.add(p);
                for (int layer = 0; layer < LAYERS; layer++) {
                    int block = one.sequence().table.block(p / BLOCK_SIZE, groups.of(layer));
                    assertThat(cache.ledger().pool().references(block))
                            .as("holders of block %d, which will be written", block)
                            .isEqualTo(1);
                    assertThat(cache.ledger().pool().isRegistered(block))
                            .as("block %d, which will be written, is registered", block)
                            .isFalse();
                    places.get(layer).add((long) block * BLOCK_SIZE + p % BLOCK_SIZE);
                }
            }
            assertThat(batch.sequence(i)).isSameAs(one.sequence());
            assertThat(batch.lastRow(i)).isEqualTo(ids.size() - 1);
        }
        assertThat(batch.tokens()).isEqualTo(ids.size());
        assertThat(ints(batch.tokenIds(), ids.size())).isEqualTo(ids);
        assertThat(ints(batch.positions(), ids.size())).isEqualTo(positions);
        for (int layer = 0; layer < LAYERS; layer++) {
            ByteBuffer stored = read(batch.slots(layer), ids.size() * 8);
            for (int row = 0; row < ids.size(); row++) {
                assertThat(stored.getLong(row * 8)).isEqualTo(places.get(layer).get(row));
            }
        }
    }

    private List<Integer> ints(DeviceMemory memory, int count) {
        ByteBuffer bytes = read(memory, count * 4);
        List<Integer> values = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            values.add(bytes.getInt(i * 4));
        }
        return values;
    }

    private ByteBuffer read(DeviceMemory memory, int bytes) {
        ByteBuffer buffer = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder());
        backend.download(memory, 0, buffer);
        return buffer;
    }

    void write(Step step, int layer) {
        ByteBuffer kRows = buffer(step.batch().tokens() * TokenContent.KV_HEADS);
        ByteBuffer vRows = buffer(step.batch().tokens() * TokenContent.KV_HEADS);
        for (Tracked one : step.added()) {
            Entry entry = one.entry();
            long[] prefixes = TokenContent.prefixes(entry.tokens);
            for (int p = entry.computed; p < entry.computed + entry.scheduled; p++) {
                for (int head = 0; head < TokenContent.KV_HEADS; head++) {
                    for (int d = 0; d < TokenContent.HEAD_SIZE; d++) {
                        kRows.putFloat(TokenContent.k(layer, prefixes[p], head, d));
                        vRows.putFloat(TokenContent.v(layer, prefixes[p], head, d));
                    }
                }
            }
        }
        backend.upload(kRows.flip(), k.memory(), 0);
        backend.upload(vRows.flip(), v.memory(), 0);
        cache.write(layer, step.batch(), k, v);
    }

    private static ByteBuffer buffer(int rows) {
        return ByteBuffer.allocateDirect(rows * TokenContent.HEAD_SIZE * 4).order(ByteOrder.nativeOrder());
    }

    void attendAndCompare(Step step, int layer) {
        int tokens = step.batch().tokens();
        ByteBuffer queries = buffer(tokens * TokenContent.QUERY_HEADS);
        for (Tracked one : step.added()) {
            Entry entry = one.entry();
            long[] prefixes = TokenContent.prefixes(entry.tokens);
            for (int p = entry.computed; p < entry.computed + entry.scheduled; p++) {
                for (int head = 0; head < TokenContent.QUERY_HEADS; head++) {
                    for (int d = 0; d < TokenContent.HEAD_SIZE; d++) {
                        queries.putFloat(TokenContent.q(layer, prefixes[p], head, d));
                    }
                }
            }
        }
        backend.upload(queries.flip(), q.memory(), 0);
        cache.attend(layer, step.batch(), q, out);
        FloatBuffer results = read(out.memory(), tokens * TokenContent.QUERY_HEADS * TokenContent.HEAD_SIZE * 4)
                .asFloatBuffer();
        for (int i = 0; i < step.added().size(); i++) {
            Entry entry = step.added().get(i).entry();
            long[] prefixes = TokenContent.prefixes(entry.tokens);
            int position = entry.computed + entry.scheduled - 1;
            for (int head = 0; head < TokenContent.QUERY_HEADS; head++) {
                double[] expected = TokenContent.attend(
                        layer, prefixes, position, head, cache.config().window(layer));
                int row = step.batch().lastRow(i) * TokenContent.QUERY_HEADS + head;
                for (int d = 0; d < TokenContent.HEAD_SIZE; d++) {
                    float got = results.get(row * TokenContent.HEAD_SIZE + d);
                    if (!(Math.abs(got - expected[d]) <= 1e-5)) {
                        throw new AssertionError("Attention of layer " + layer + ", sequence " + i + ", position "
                                + position + ", head " + head + ": " + got + " instead of " + expected[d]);
                    }
                }
            }
        }
    }

    // ---- everything that can be seen

    void checkState() {
        BlockPool pool = cache.ledger().pool();
        pool.checkInvariants();
        mirror.checkEquals(pool);
        assertThat(cache.stats())
                .isEqualTo(oracle.stats(oracle.totalBlocks * cache.config().blockBytes()));
        IdentityHashMap<Object, Integer> blockOf = new IdentityHashMap<>();
        Map<Integer, Integer> tableEntries = new HashMap<>();
        for (Tracked one : tracked) {
            Entry entry = one.entry();
            Sequence sequence = one.sequence();
            assertThat(sequence.isClosed()).isEqualTo(entry.closed);
            assertThat(sequence.length()).isEqualTo(entry.tokens.size());
            assertThat(sequence.computedTokens()).isEqualTo(entry.computed);
            assertThat(sequence.pendingTokens()).isEqualTo(entry.tokens.size() - entry.computed);
            assertThat(sequence.table.size()).isEqualTo(entry.blocks.size());
            checkBlocks(sequence.table, entry.blocks, blockOf, tableEntries);
            for (int i = 0; i < entry.blocks.size() * groups.count(); i++) {
                Block block = entry.blocks.get(i / groups.count())[i % groups.count()];
                assertThat(block == null || pool.isRegistered(sequence.table.blocks()[i]))
                        .as("block %d is registered", sequence.table.blocks()[i])
                        .isEqualTo(block == null || oracle.pool.registered.containsValue(block));
            }
        }
        checkIndex(blockOf, tableEntries);
        assertThat(oracle.pool.orphans())
                .as("cached prefixes whose beginning is not cached")
                .isEmpty();
        for (int block = 0; block < pool.total(); block++) {
            assertThat(pool.references(block))
                    .as("references of block %d", block)
                    .isEqualTo(tableEntries.getOrDefault(block, 0));
        }
    }

    /** A table holds the blocks that it should; counts them. */
    private void checkBlocks(
            BlockTable table,
            List<@Nullable Block[]> expected,
            IdentityHashMap<Object, Integer> blockOf,
            Map<Integer, Integer> references) {
        for (int i = 0; i < expected.size(); i++) {
            for (int group = 0; group < groups.count(); group++) {
                int held = table.block(i, group);
                Block block = expected.get(i)[group];
                if (block == null) {
                    assertThat(held)
                            .as("block %d of group %d, which is gone", i, group)
                            .isEqualTo(BlockTable.GONE);
                    continue;
                }
                Integer known = blockOf.putIfAbsent(block, held);
                assertThat(known == null || known == held)
                        .as("block %d is held by those that the oracle says", held)
                        .isTrue();
                references.merge(held, 1, Integer::sum);
            }
        }
    }

    /** What can be found is what the oracle finds; adds what pins hold to {@code references}. */
    private void checkIndex(IdentityHashMap<Object, Integer> blockOf, Map<Integer, Integer> references) {
        BlockPool pool = cache.ledger().pool();
        oracle.pool.registered.forEach((prefix, block) -> {
            int found = pool.find(key(prefix), 0);
            assertThat(found).as("the block of %s", prefix).isNotNegative();
            Integer known = blockOf.putIfAbsent(block, found);
            assertThat(known == null || known == found)
                    .as("block %d is the one of %s", found, prefix)
                    .isTrue();
        });
        int registered = 0;
        for (int block = 0; block < pool.total(); block++) {
            registered += pool.isRegistered(block) ? 1 : 0;
        }
        assertThat(registered).as("registered blocks").isEqualTo(oracle.pool.registered.size());
        for (Pinned one : pins) {
            checkBlocks(one.pin().table, one.blocks(), blockOf, references);
        }
    }

    private long[] key(PoolOracle.Prefix prefix) {
        return keys.computeIfAbsent(prefix, wanted -> {
            PrefixHasher hasher = new PrefixHasher(BLOCK_SIZE);
            long[] key = new long[PrefixIndex.KEY];
            hasher.root(cache.config(), cache.scales(), weights, key);
            if (!wanted.salt().isEmpty()) {
                hasher.salted(key, wanted.salt(), key);
            }
            int[] ids = wanted.tokens().stream().mapToInt(Integer::intValue).toArray();
            for (int from = 0; from < ids.length; from += BLOCK_SIZE) {
                hasher.child(key, 0, ids, from, key, 0);
            }
            return new GroupKey().of(wanted.group(), key, 0).words;
        });
    }

    /** Every computed row of {@code one} reads back as it was written. */
    void checkContent(Tracked one) {
        Entry entry = one.entry();
        long[] prefixes = TokenContent.prefixes(entry.tokens);
        for (int p = 0; p < entry.tokens.size(); p++) {
            assertThat(one.sequence().token(p)).isEqualTo(entry.tokens.get(p));
        }
        if (entry.computed == 0) {
            return;
        }
        BlockTable table = one.sequence().table;
        ByteBuffer places = ByteBuffer.allocateDirect(entry.computed * 8).order(ByteOrder.nativeOrder());
        for (int layer = 0; layer < LAYERS; layer++) {
            int group = groups.of(layer);
            int first = table.gone(group) * BLOCK_SIZE;
            int rows = entry.computed - first;
            places.clear();
            for (int p = first; p < entry.computed; p++) {
                places.putLong((long) table.block(p / BLOCK_SIZE, group) * BLOCK_SIZE + p % BLOCK_SIZE);
            }
            backend.upload(places.flip(), slots, 0);
            int bytes = rows * TokenContent.KV_HEADS * TokenContent.HEAD_SIZE * 4;
            CacheView view = backend.viewOf(
                    cache.config().layout().layer(layer, cache.config().blocks()));
            backend.gather(view, k, v, rows, slots);
            FloatBuffer kRows = read(k.memory(), bytes).asFloatBuffer();
            FloatBuffer vRows = read(v.memory(), bytes).asFloatBuffer();
            for (int p = first; p < entry.computed; p++) {
                for (int head = 0; head < TokenContent.KV_HEADS; head++) {
                    for (int d = 0; d < TokenContent.HEAD_SIZE; d++) {
                        float expectedK = TokenContent.k(layer, prefixes[p], head, d);
                        float expectedV = TokenContent.v(layer, prefixes[p], head, d);
                        float gotK = kRows.get();
                        float gotV = vRows.get();
                        if (gotK != expectedK || gotV != expectedV) {
                            throw new AssertionError("Layer " + layer + ", position " + p + " of " + entry.computed
                                    + ", head " + head + ", channel " + d + ": K is " + gotK + " instead of "
                                    + expectedK
                                    + ", V is " + gotV + " instead of " + expectedV);
                        }
                    }
                }
            }
        }
    }

    /** Closes everything and checks that nothing stays behind. */
    @Override
    public void close() {
        for (Tracked one : List.copyOf(tracked)) {
            close(one, ReleaseHint.KEEP);
        }
        List.copyOf(pins).forEach(this::unpin);
        away.subList(away.size() / 2, away.size()).forEach(one -> one.swapped().close());
        cache.close();
        for (HeadRows rows : List.of(k, v, q, out)) {
            rows.memory().close();
        }
        slots.close();
    }
}
