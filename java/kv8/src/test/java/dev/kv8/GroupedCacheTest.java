package dev.kv8;

import static dev.kv8.TokenRange.tokens;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import java.nio.IntBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Layers with and without windows, and so with blocks of their own: what each group holds, gives back, finds again and shares. */
class GroupedCacheTest {
    private static final int WINDOW = 20;
    private static final int WIDER = 48;
    /** Groups by their windows: all keys, 48, and 20 twice. */
    private static final int[] WINDOWS = {0, WINDOW, WIDER, WINDOW};

    private static final int GROUPS = 4;

    private final SilentBackend backend = new SilentBackend();
    private final DeviceMemory memory = backend.allocate(1 << 16);
    private final HeadRows rows = HeadRows.of(memory, DType.FLOAT32, 1, 64);
    private final List<KvCache> caches = new ArrayList<>();

    private static KvCacheConfig.Builder config(int... windows) {
        return KvCacheConfig.builder()
                .layers(windows.length)
                .kvHeads(1)
                .headSize(64)
                .dtype(KvCacheDType.FP8)
                .blockSize(8)
                .layerWindows(windows)
                .eviction(EvictionPolicyKind.LRU)
                .watermark(0);
    }

    private KvCache cache(int blocks, int... windows) {
        KvCache cache = KvCache.create(backend, config(windows).blocks(blocks).build());
        caches.add(cache);
        return cache;
    }

    @AfterEach
    void close() {
        for (KvCache cache : caches) {
            cache.ledger().pool().checkInvariants();
            cache.close();
        }
        memory.close();
        assertThat(backend.liveAllocations()).isZero();
    }

    private static void compute(Batch batch, Sequence sequence, int count) {
        assertThat(batch.add(sequence, count)).isTrue();
        batch.commit();
    }

    private static int firstSeen(int window, int position) {
        return window == 0 ? 0 : Math.max(0, position - window + 1) / 8;
    }

    @Test
    void aLongTextHoldsAllWhereAllIsSeenAndTheWindowElsewhere() {
        KvCache cache = cache(200, WINDOWS);
        assertThat(cache.config().layerGroups()).isEqualTo(GROUPS);
        Batch batch = cache.batch();
        Sequence sequence = cache.open(tokens(0, 1000));
        for (int computed = 0; computed < 1000; computed++) {
            compute(batch, sequence, 1);
            int held = 0;
            for (int window : WINDOWS) {
                held += computed / 8 - firstSeen(window, computed) + 1;
            }
            assertThat(cache.stats().usedBlocks()).as("at %d", computed).isEqualTo(held);
        }
        assertThat(cache.stats().usedBlocks()).as("of 500 without groups").isLessThan(125 + 8 + 4 + 4);
        sequence.close();
        assertThat(cache.stats().usedBlocks()).isZero();
    }

    /** A block has the layers of a group, so all layers of a token take as much as in a block with all. */
    @Test
    void aBlockHasTheLayersOfAGroup() {
        KvCacheConfig grouped = config(0, WINDOW, WINDOW, 0).blocks(10).build();
        KvCacheConfig whole = config(0, 0, 0, 0).blocks(10).build();
        assertThat(grouped.layerGroups()).isEqualTo(2);
        assertThat(2 * grouped.blockBytes()).isEqualTo(whole.blockBytes());
        assertThat(grouped.bytesPerToken()).isEqualTo(whole.bytesPerToken());
        assertThat(grouped.layout().layer(0, 10).k().offset())
                .isEqualTo(grouped.layout().layer(1, 10).k().offset());
        assertThat(grouped.layout().layer(3, 10).k().offset()).isPositive();
        KvCacheConfig same = config(WINDOW, WINDOW).blocks(10).build();
        assertThat(same.layerGroups()).isEqualTo(1);
        assertThat(same.window()).isEqualTo(WINDOW);
    }

    @Test
    void aStepThatDoesNotFitInAllGroupsChangesNothing() {
        KvCache cache = cache(11, WINDOWS);
        Batch batch = cache.batch();
        Sequence sequence = cache.open(tokens(0, 40));
        compute(batch, sequence, 16);
        CacheStats before = cache.stats();
        assertThat(before.freeBlocks()).isEqualTo(3);
        assertThat(batch.add(sequence, 1))
                .as("four blocks are needed, three are there")
                .isFalse();
        assertThat(cache.stats()).isEqualTo(before);
        Sequence other = cache.open(tokens(500, 8));
        assertThat(batch.add(other, 8)).isFalse();
        assertThat(cache.stats().freeBlocks()).isEqualTo(3);
    }

    /** Who writes into blocks that a fork holds too copies them in every group. */
    @Test
    void aForkSharesInAllGroupsUntilSomebodyWrites() {
        KvCache cache = cache(60, WINDOWS);
        Batch batch = cache.batch();
        Sequence parent = cache.open(tokens(0, 100));
        for (int i = 0; i < 10; i++) {
            compute(batch, parent, 10);
        }
        int held = cache.stats().usedBlocks();
        Sequence child = parent.fork();
        assertThat(cache.stats().usedBlocks()).isEqualTo(held);
        parent.append(1);
        child.append(2);
        compute(batch, parent, 1);
        assertThat(cache.stats().copiedBlocks()).isEqualTo(GROUPS);
        compute(batch, child, 1);
        assertThat(cache.stats().copiedBlocks())
                .as("the child is alone with its own")
                .isEqualTo(GROUPS);
        for (int group = 0; group < GROUPS; group++) {
            assertThat(parent.table.block(12, group)).isNotEqualTo(child.table.block(12, group));
            assertThat(parent.table.block(11, group)).isEqualTo(child.table.block(11, group));
        }
        cache.reorder(new Sequence[] {parent, child}, 1, 1);
        parent.close();
        child.close();
        assertThat(cache.stats().usedBlocks()).isZero();
    }

    /** Against a search of every end, over prompts whose blocks are there or not at random. */
    @Test
    void theLongestPrefixThatAllGroupsCanGoOnFromIsFound() {
        long seed = Long.getLong("kv8.seed", System.nanoTime());
        Random random = new Random(seed);
        int found = 0;
        for (int round = 0; round < 300; round++) {
            int[] windows = round % 3 == 0 ? new int[] {WIDER, WINDOW} : WINDOWS;
            try (KvCache cache =
                            KvCache.create(backend, config(windows).blocks(400).build());
                    Batch step = cache.batch()) {
                int groups = cache.config().layerGroups();
                int[] prompt = tokens(0, 8 * 40 - 3);
                Sequence all = cache.open(prompt);
                compute(step, all, prompt.length);
                List<List<Integer>> missing = new ArrayList<>();
                for (int group = 0; group < groups; group++) {
                    missing.add(new ArrayList<>());
                    int rarity = cache.config().groups().window(group) == 0 ? 25 : 8;
                    for (int block = 0; block < 39; block++) {
                        if (random.nextInt(rarity) == 0) {
                            cache.ledger().pool().unregister(all.table.block(block, group));
                            missing.get(group).add(block);
                        }
                    }
                }
                int from = 8 * random.nextInt(4);
                int expected = from;
                for (int end = from / 8; end <= 39; end++) {
                    boolean whole = true;
                    for (int group = 0; group < groups; group++) {
                        int first = Math.max(
                                from / 8, firstSeen(cache.config().groups().window(group), end * 8));
                        int last = end;
                        whole &= missing.get(group).stream().noneMatch(block -> block >= first && block < last);
                    }
                    expected = whole ? end * 8 : expected;
                }
                assertThat(caughtUp(cache, step, prompt, from))
                        .as("seed %d, round %d, from %d, without %s", seed, round, from, missing)
                        .isEqualTo(expected);
                found += expected > from ? 1 : 0;
                cache.ledger().pool().checkInvariants();
            }
        }
        assertThat(found).isGreaterThan(100);
    }

    /** How far a sequence gets that has computed {@code from} tokens itself. */
    private static int caughtUp(KvCache cache, Batch step, int[] prompt, int from) {
        Sequence sequence = from == 0 ? cache.open(prompt) : cache.open(prompt[0]);
        if (from > 0) {
            sequence.append(Arrays.copyOfRange(prompt, 1, from));
            compute(step, sequence, from);
            sequence.append(Arrays.copyOfRange(prompt, from, prompt.length));
            sequence.catchUp();
        }
        int computed = sequence.computedTokens();
        compute(step, sequence, prompt.length - computed);
        sequence.close();
        return computed;
    }

    @Test
    void aHitHoldsTheWindowsAndNoMore() {
        KvCache cache = cache(200, WINDOWS);
        Batch batch = cache.batch();
        Sequence first = cache.open(tokens(0, 160));
        compute(batch, first, 160);
        first.close();
        Sequence second = cache.open(tokens(0, 161));
        assertThat(second.cachedTokens()).isEqualTo(160);
        assertThat(cache.stats().usedBlocks())
                .isEqualTo(20 + (20 - firstSeen(WIDER, 160)) + 2 * (20 - firstSeen(WINDOW, 160)));
        second.close();
    }

    @Test
    void whatTheLastStepAddedCanBeTruncated() {
        KvCache cache = cache(200, WINDOWS);
        Batch batch = cache.batch();
        Random random = new Random(5);
        Sequence sequence = cache.open(tokens(0, 30));
        compute(batch, sequence, 30);
        while (sequence.length() < 300) {
            int before = sequence.length();
            sequence.append(tokens(before, 6));
            compute(batch, sequence, 6);
            sequence.truncate(before + random.nextInt(7));
        }
        int least = Math.max(sequence.table.gone(1) * 8 + WIDER - 1, sequence.table.gone(2) * 8 + WINDOW - 1);
        assertThatIllegalArgumentException()
                .isThrownBy(() -> sequence.truncate(least - 1))
                .withMessageContaining("Give 0, or " + least + " to ");
        sequence.truncate(least);
        sequence.truncate(0);
        assertThat(cache.stats().usedBlocks()).isZero();
    }

    @Test
    void aPinHoldsWhatTheNextTokenSees() {
        KvCache cache = cache(100, WINDOWS);
        Batch batch = cache.batch();
        Sequence sequence = cache.open(tokens(0, 160));
        for (int i = 0; i < 10; i++) {
            compute(batch, sequence, 16);
        }
        int expected = 20 + (20 - firstSeen(WIDER, 160)) + 2 * (20 - firstSeen(WINDOW, 160));
        assertThatIllegalStateException()
                .as("a prefix whose window was given back would not be found")
                .isThrownBy(() -> sequence.pin(80))
                .withMessageContaining("nothing to pin");
        PinnedPrefix pin = sequence.pin();
        assertThat(pin.blocks()).isEqualTo(expected);
        assertThat(pin.tokens()).isEqualTo(160);
        sequence.close();
        Sequence other = cache.open(tokens(5000, 100)); // evicts all else
        compute(batch, other, 100);
        other.close();
        assertThat(cache.stats().pinnedBlocks()).isEqualTo(expected);
        assertThat(cache.open(tokens(0, 161)).cachedTokens()).isEqualTo(160);
        pin.close();
        assertThat(cache.stats().pinnedBlocks()).isZero();
    }

    @Test
    void aSequenceIsSwappedWithoutWhatFellOut() {
        KvCache cache = cache(60, WINDOWS);
        Batch batch = cache.batch();
        Sequence sequence = cache.open(tokens(0, 160));
        for (int i = 0; i < 9; i++) {
            compute(batch, sequence, 17);
        }
        int held = cache.stats().usedBlocks();
        SwappedSequence away = cache.swapOut(sequence);
        assertThat(away.bytes()).isEqualTo(held * cache.config().blockBytes());
        assertThat(cache.stats().usedBlocks()).isZero();
        Sequence shared = cache.swapIn(away).orElseThrow();
        assertThat(shared.computedTokens()).isEqualTo(153);
        assertThat(cache.stats().usedBlocks()).isEqualTo(held);
        SwappedSequence again = cache.swapOut(shared);
        cache.clearPrefixes();
        Sequence other = cache.open(tokens(500, (60 - held) / 4 * 8 + 8));
        compute(batch, other, (60 - held) / 4 * 8 + 8);
        assertThat(cache.stats().freeBlocks()).isLessThan(held);
        assertThat(cache.swapIn(again)).as("not enough free blocks").isEmpty();
        other.close();
        Sequence back = cache.swapIn(again).orElseThrow();
        assertThat(cache.stats().usedBlocks()).isEqualTo(held);
        compute(batch, back, 7);
        back.close();
    }

    /** In steps of a block of 8: all keys 1 for each block, the windows at most 5 (20 + 7 + 8 tokens) and 9. */
    @Test
    void admissionCountsAWindowWhereThereIsOne() {
        KvCache cache = cache(100, 0, WINDOW, WIDER);
        assertThat(cache.config().layerGroups()).isEqualTo(3);
        int most = 8 * (100 - 5 - 8);
        assertThat(cache.canAdmit(tokens(0, most - 8), 8).answer()).isNotEqualTo(Admission.Answer.NEVER);
        assertThat(cache.canAdmit(tokens(0, most - 8), 9)).isEqualTo(new Admission(Admission.Answer.NEVER, 1));
        assertThat(CapacityPlan.of(cache.config()).tokens()).isEqualTo(most);
        Batch batch = cache.batch();
        Sequence longest = cache.open(tokens(0, most));
        for (int computed = 0; computed < most; computed += 8) {
            compute(batch, longest, 8);
        }
        assertThat(cache.canAdmit(tokens(5000, 30), 0).answer()).isEqualTo(Admission.Answer.LATER);
        longest.truncate(0);
        longest.append(tokens(9000, 400));
        for (int i = 0; i < 10; i++) {
            compute(batch, longest, 40);
        }
        assertThat(cache.canAdmit(tokens(5000, 400), 0).answer()).isEqualTo(Admission.Answer.LATER);
        assertThat(cache.canAdmit(tokens(9000, 401), 0))
                .as("what the other one holds takes no room")
                .isEqualTo(Admission.NOW);
        longest.close();
        assertThat(cache.canAdmit(tokens(5000, 400), 0)).isEqualTo(Admission.NOW);
        assertThat(CapacityPlan.of(cache.config()).sequences(most)).isEqualTo(1);
        assertThat(CapacityPlan.of(cache.config()).sequences(16)).isEqualTo(100 / 6);
    }

    @Test
    void attentionBeyondALayersWindowIsRefused() {
        KvCache cache = cache(20, 0, WINDOW);
        Batch batch = cache.batch();
        Sequence sequence = cache.open(1, 2, 3);
        assertThat(batch.add(sequence)).isTrue();
        AttentionOptions causal = AttentionOptions.causal(64);
        cache.attend(0, batch, rows, rows, causal);
        cache.attend(1, batch, rows, rows);
        assertThatIllegalArgumentException()
                .isThrownBy(() -> cache.attend(1, batch, rows, rows, causal))
                .withMessageContaining(
                        "no window, but this cache keeps 20 tokens only (KvCacheConfig.window, layer 1)");
        assertThatIllegalStateException()
                .isThrownBy(batch::slots)
                .withMessageContaining("2 groups of layers with blocks of their own. Ask for slots(layer)");
        assertThat(batch.slots(0)).isNotEqualTo(batch.slots(1));
        batch.clear();
    }

    @Test
    void windowsThatContradictEachOtherAreRefused() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> config(0, WINDOW).window(8).blocks(8).build())
                .withMessageContaining("Give window or layerWindows, not both");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> config(0, WINDOW).layers(3).blocks(8).build())
                .withMessageContaining("layerWindows has 2 windows for 3 layers");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> config(0, -4).blocks(8).build())
                .withMessageContaining("The window of layer 1 is -4; give 0 for none");
    }

    /** Two caches find each other's blocks by key only when their layers are grouped alike. */
    @Test
    void keysTellGroupsApart() {
        BlockKeys first = new BlockKeys();
        BlockKeys second = new BlockKeys();
        for (BlockKeys keys : List.of(first, second)) {
            int window = keys == first ? WINDOW : WIDER;
            KvCache cache = KvCache.create(
                    backend, config(0, window).blocks(8).listener(keys).build());
            caches.add(cache);
            Batch batch = cache.batch();
            compute(batch, cache.open(tokens(0, 16)), 16);
        }
        assertThat(first.stored).hasSize(4).doesNotHaveDuplicates().doesNotContainAnyElementsOf(second.stored);
    }

    private static final class BlockKeys implements CacheListener {
        final List<BlockKey> stored = new ArrayList<>();

        @Override
        public void stored(BlockKey key, BlockKey parent, int position, IntBuffer tokens) {
            stored.add(key);
        }
    }

    /** A thousand random operations; after each the pool is sound and its references are the tables' entries. */
    @Test
    void whateverIsDoneBlocksAreHeldByTheirTables() {
        long seed = Long.getLong("kv8.seed", System.nanoTime());
        Random random = new Random(seed);
        KvCache cache = cache(90, WINDOWS);
        Batch batch = cache.batch();
        List<Sequence> open = new ArrayList<>();
        List<SwappedSequence> away = new ArrayList<>();
        for (int i = 0; i < 3000; i++) {
            operate(cache, batch, open, away, random);
            cache.ledger().pool().checkInvariants();
            int[] references = new int[90];
            for (Sequence sequence : open) {
                BlockTable table = sequence.table;
                assertThat(table.size()).as("seed %d", seed).isEqualTo((table.computed + 7) / 8);
                for (int group = 0; group < GROUPS; group++) {
                    for (int block = 0; block < table.size(); block++) {
                        int held = table.block(block, group);
                        assertThat(held == BlockTable.GONE).as("seed %d", seed).isEqualTo(block < table.gone(group));
                        if (held != BlockTable.GONE) {
                            references[held]++;
                        }
                    }
                    assertThat(table.gone(group))
                            .as("seed %d: what the next token sees is there", seed)
                            .isLessThanOrEqualTo(
                                    firstSeen(cache.config().groups().window(group), table.computed));
                }
            }
            for (int block = 0; block < references.length; block++) {
                assertThat(cache.ledger().pool().references(block))
                        .as("seed %d, operation %d, block %d", seed, i, block)
                        .isEqualTo(references[block]);
            }
        }
        assertThat(cache.stats().prefixHitTokens()).as("seed %d", seed).isPositive();
        assertThat(cache.stats().evictedBlocks()).as("seed %d", seed).isPositive();
    }

    private static void operate(
            KvCache cache, Batch batch, List<Sequence> open, List<SwappedSequence> away, Random random) {
        int operation = random.nextInt(12);
        if (open.isEmpty() || operation == 0) {
            int[] prompt = tokens(0, 1 + random.nextInt(150));
            Arrays.fill(prompt, Math.min(prompt.length, 8 * random.nextInt(20)), prompt.length, random.nextInt(3));
            open.add(cache.open(prompt));
            return;
        }
        Sequence one = open.get(random.nextInt(open.size()));
        if (operation < 6) {
            one.append(random.nextInt(3));
            if (one.catchUp() || random.nextBoolean()) {
                if (batch.add(one, 1 + random.nextInt(Math.min(40, one.pendingTokens())))) {
                    if (random.nextInt(5) == 0) {
                        batch.clear();
                    } else {
                        batch.commit();
                    }
                } else {
                    open.remove(one);
                    one.close(List.of(ReleaseHint.values()).get(random.nextInt(3)));
                }
            }
        } else if (operation == 6 && open.size() < 6) {
            open.add(one.fork());
        } else if (operation == 7) {
            int least = Math.min(one.length(), cache.ledger().leastLength(one.table));
            one.truncate(least + random.nextInt(one.length() - least + 1));
        } else if (operation == 8) {
            int[] parents = random.ints(open.size(), 0, open.size()).toArray();
            cache.reorder(open.toArray(new Sequence[0]), parents);
        } else if (operation == 9 && open.size() > 2) {
            open.remove(one);
            away.add(cache.swapOut(one));
        } else if (operation == 10 && !away.isEmpty()) {
            cache.swapIn(away.get(0)).ifPresent(back -> {
                away.remove(0);
                open.add(back);
            });
        } else if (open.size() > 3) {
            open.remove(one);
            one.close();
        }
    }
}
