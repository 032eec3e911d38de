package dev.kv8;

import static dev.kv8.TokenRange.tokens;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.time.Duration;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** What a caller says about a sequence's worth, and what stays cached because of it: hints, classes, limits, pins and salts. */
class RetentionTest {
    private static final int BLOCKS = 6;

    private final SilentBackend backend = new SilentBackend();
    private long nanos = 5;
    private KvCache cache = create(EvictionPolicyKind.LRU);
    private Batch batch = cache.batch();

    /** Six blocks of eight tokens, at most three of them pinned, a clock that the test moves. */
    private KvCache create(EvictionPolicyKind eviction) {
        return KvCache.create(
                backend,
                OneLayer.config()
                        .eviction(eviction)
                        .clock(() -> nanos)
                        .blocks(BLOCKS)
                        .build());
    }

    private void use(EvictionPolicyKind eviction) {
        cache.close();
        cache = create(eviction);
        batch = cache.batch();
    }

    @AfterEach
    void close() {
        OneLayer.close(cache, backend);
    }

    private void pass(long seconds) {
        nanos += TimeUnit.SECONDS.toNanos(seconds);
    }

    private static SequenceOptions of(CachePriority priority) {
        return SequenceOptions.builder().priority(priority).build();
    }

    private static SequenceOptions of(CachePriority priority, long seconds) {
        return SequenceOptions.builder()
                .priority(priority)
                .timeLimit(Duration.ofSeconds(seconds))
                .build();
    }

    private Sequence computed(SequenceOptions options, int first, int count) {
        Sequence sequence = cache.open(options, tokens(first, count));
        assertThat(batch.add(sequence)).isTrue();
        batch.commit();
        return sequence;
    }

    private Sequence computed(int first, int count) {
        return computed(SequenceOptions.DEFAULT, first, count);
    }

    /** Blocks found for these tokens, without using them. */
    private int found(int first, int count) {
        int[] prompt = tokens(first, count);
        long[] keys = new long[4];
        int found = 0;
        PrefixHasher hasher = new PrefixHasher(8);
        long[] parent = new long[4];
        hasher.root(cache.config(), cache.scales(), "", parent);
        for (int i = 0; i < count / 8; i++) {
            hasher.child(parent, 0, prompt, i * 8, keys, 0);
            if (cache.ledger().pool().find(keys, 0) < 0) {
                break;
            }
            found++;
            parent = keys.clone();
        }
        return found;
    }

    private void evict(int blocks) {
        computed(10_000 + 100 * (int) (nanos % 97), 8 * blocks).close(ReleaseHint.DISCARD);
    }

    @ParameterizedTest
    @EnumSource
    void demotedBlocksGoBeforeOlderOnes(EvictionPolicyKind kind) {
        use(kind);
        computed(0, 16).close();
        computed(100, 16).close(ReleaseHint.DEMOTE);
        computed(200, 16).close();
        evict(2);
        assertThat(found(0, 16)).isEqualTo(2);
        assertThat(found(100, 16)).isZero();
        assertThat(found(200, 16)).isEqualTo(2);
    }

    @Test
    void aDemotedBlockThatIsUsedAgainIsAsGoodAsAnyOther() {
        computed(0, 16).close(ReleaseHint.DEMOTE);
        computed(100, 16).close();
        Sequence again = computed(0, 17);
        assertThat(again.cachedTokens()).isEqualTo(16);
        again.close();
        evict(4); // two are free
        assertThat(found(0, 16)).isEqualTo(2);
        assertThat(found(100, 16)).isZero();
    }

    /** Or nobody would find what the others cached. */
    @ParameterizedTest
    @EnumSource
    void whatOthersGoOnFromIsNotDemoted(EvictionPolicyKind kind) {
        use(kind);
        computed(0, 16).close();
        Sequence other = cache.open(tokens(0, 8));
        other.append(tokens(100, 17));
        assertThat(other.catchUp()).isTrue();
        assertThat(other.cachedTokens()).isEqualTo(8);
        assertThat(batch.add(other)).isTrue();
        batch.commit();
        other.close(ReleaseHint.DEMOTE);
        evict(5); // two are free, two were demoted, and one is the oldest of the others
        assertThat(found(0, 16)).isOne();
    }

    /** Of its earlier turns too. */
    @ParameterizedTest
    @EnumSource
    void allTurnsOfAConversationAreDemoted(EvictionPolicyKind kind) {
        use(kind);
        computed(100, 8).close();
        computed(0, 16).close();
        computed(200, 8).close();
        computed(0, 32).close(ReleaseHint.DEMOTE); // takes two that are free
        evict(4);
        assertThat(found(0, 32)).isZero();
        assertThat(found(100, 8)).isOne();
        assertThat(found(200, 8)).isOne();
    }

    /** What hangs on the blocks that were left is what hung on them before. */
    @Test
    void whatWasEvictedAndComputedAgainIsNoOtherChild() {
        computed(0, 24).close();
        evict(4);
        assertThat(found(0, 24)).isEqualTo(2);
        computed(300, 8).close();
        computed(0, 24).close(ReleaseHint.DEMOTE);
        evict(5);
        assertThat(found(0, 24)).isZero();
        assertThat(found(300, 8)).isOne();
    }

    /** A child that is gone needs nothing any more, and another one takes its place. */
    @Test
    void anEvictedChildDoesNotCount() {
        computed(0, 16).close();
        computed(400, 32).close(); // takes the free ones
        computed(500, 8).close(ReleaseHint.DISCARD); // evicts the second block
        assertThat(found(0, 16)).isOne();
        Sequence other = cache.open(tokens(0, 8));
        other.append(tokens(100, 9));
        assertThat(other.catchUp()).isTrue();
        assertThat(other.cachedTokens()).isEqualTo(8);
        assertThat(batch.add(other)).isTrue();
        batch.commit();
        other.close(ReleaseHint.DEMOTE);
        evict(3);
        assertThat(found(0, 8)).isZero();
        assertThat(found(400, 24)).isEqualTo(3);
    }

    @Test
    void discardedBlocksAreFreeAtOnceAndNotFound() {
        Sequence sequence = computed(0, 20);
        Sequence other = computed(100, 8);
        sequence.close(ReleaseHint.DISCARD);
        assertThat(cache.stats().cachedBlocks()).isZero();
        assertThat(cache.stats().freeBlocks()).isEqualTo(5);
        assertThat(found(0, 16)).isZero();
        assertThat(found(100, 8)).isEqualTo(1);
        other.close();
        assertThat(cache.stats().evictedBlocks()).isZero();
    }

    @Test
    void aHintLeavesAloneWhatOthersHold() {
        Sequence sequence = computed(0, 16);
        Sequence sharing = cache.open(tokens(0, 17));
        Sequence fork = sequence.fork();
        sequence.close(ReleaseHint.DISCARD);
        assertThat(found(0, 16)).isEqualTo(2);
        sharing.close();
        fork.close(ReleaseHint.DEMOTE);
        assertThat(found(0, 16)).as("the last holder's hint counts").isEqualTo(2);
        computed(100, 8).close();
        evict(5);
        assertThat(found(0, 16)).isZero();
        assertThat(found(100, 8)).isEqualTo(1);
    }

    @Test
    void aHintLeavesAloneWhatAHigherClassWasAskedFor() {
        computed(of(CachePriority.HIGH), 0, 8).close();
        Sequence sequence = computed(0, 16);
        assertThat(sequence.cachedTokens()).isEqualTo(8);
        sequence.close(ReleaseHint.DISCARD);
        assertThat(found(0, 16)).isEqualTo(1);
        Sequence equal = cache.open(of(CachePriority.HIGH), tokens(0, 9));
        equal.close(ReleaseHint.DISCARD);
        assertThat(found(0, 16)).isZero();
    }

    @Test
    void theFirstOfSeveralHintsCounts() {
        Sequence sequence = computed(0, 16);
        sequence.close(ReleaseHint.DISCARD);
        sequence.close();
        sequence.close(ReleaseHint.KEEP);
        assertThat(found(0, 16)).isZero();
    }

    @Test
    void aHintGivenInTheMiddleOfAStepCountsWhenItEnds() {
        Sequence sequence = cache.open(tokens(0, 16));
        assertThat(batch.add(sequence)).isTrue();
        sequence.close(ReleaseHint.DISCARD);
        batch.commit();
        assertThat(cache.stats().cachedBlocks()).isZero();
        assertThat(cache.stats().freeBlocks()).isEqualTo(BLOCKS);
    }

    @ParameterizedTest
    @EnumSource
    void lowerClassesMakeRoomFirst(EvictionPolicyKind kind) {
        use(kind);
        computed(of(CachePriority.CRITICAL), 0, 8).close();
        computed(of(CachePriority.HIGH), 100, 8).close();
        computed(of(CachePriority.NORMAL), 200, 8).close();
        computed(of(CachePriority.LOW), 300, 8).close();
        computed(of(CachePriority.CRITICAL), 400, 8).close(ReleaseHint.DEMOTE);
        int[] order = {400, 300, 200, 100, 0};
        for (int gone = 0; gone <= order.length; gone++) {
            for (int i = 0; i < order.length; i++) {
                assertThat(found(order[i], 8))
                        .as("%d after %d evictions", order[i], gone)
                        .isEqualTo(i < gone ? 0 : 1);
            }
            if (gone < order.length) {
                evict(2 + gone); // what evict() took before is free again
            }
        }
    }

    @Test
    void aSharedBlockIsOfTheHighestClassThatWasAskedFor() {
        computed(of(CachePriority.LOW), 0, 8).close();
        cache.open(of(CachePriority.HIGH), tokens(0, 9)).close();
        cache.open(of(CachePriority.LOW), tokens(0, 9)).close();
        computed(100, 8).close();
        evict(5);
        assertThat(found(0, 8)).isEqualTo(1);
        assertThat(found(100, 8)).isZero();
    }

    @ParameterizedTest
    @EnumSource(ReleaseHint.class)
    void whoComputedTheSameBesideItRaisesItToo(ReleaseHint hint) {
        Sequence low = cache.open(of(CachePriority.LOW), tokens(0, 8));
        Sequence high = cache.open(of(CachePriority.HIGH), tokens(0, 8));
        assertThat(batch.add(low)).isTrue();
        batch.commit();
        if (hint == ReleaseHint.KEEP) {
            low.close();
        }
        assertThat(batch.add(high)).isTrue();
        batch.commit();
        low.close(hint);
        high.close(hint);
        assertThat(found(0, 8))
                .as("a low sequence's hint is nothing to a high block")
                .isEqualTo(1);
        computed(100, 8).close();
        evict(5);
        assertThat(found(0, 8)).isEqualTo(1);
    }

    @ParameterizedTest
    @EnumSource
    void aHighClassOverItsLimitIsNormal(EvictionPolicyKind kind) {
        use(kind);
        computed(of(CachePriority.HIGH, 60), 0, 8).close();
        computed(of(CachePriority.LOW), 100, 8).close();
        computed(200, 8).close();
        pass(59);
        evict(4);
        assertThat(found(100, 8)).isZero();
        evict(5);
        assertThat(found(0, 8)).as("within its limit it outlives a normal one").isEqualTo(1);
        assertThat(found(200, 8)).isZero();
        pass(2);
        computed(of(CachePriority.HIGH), 300, 8).close();
        evict(5);
        assertThat(found(0, 8)).isZero();
        assertThat(found(300, 8)).isEqualTo(1);
    }

    @ParameterizedTest
    @EnumSource
    void aNormalBlockOverItsLimitGoesFirst(EvictionPolicyKind kind) {
        use(kind);
        computed(of(CachePriority.LOW), 0, 8).close();
        computed(of(CachePriority.NORMAL, 60), 100, 8).close();
        pass(61);
        assertThat(found(100, 8)).as("it stays while there is room").isEqualTo(1);
        evict(5);
        assertThat(found(100, 8)).isZero();
        assertThat(found(0, 8)).isEqualTo(1);
    }

    @Test
    void theLimitRunsWhileNobodyHoldsTheBlock() {
        SequenceOptions options = of(CachePriority.HIGH, 60);
        Sequence held = computed(options, 0, 8);
        pass(100);
        held.close();
        pass(50);
        Sequence again = cache.open(tokens(0, 9));
        pass(50);
        again.close();
        pass(50);
        computed(100, 8).close();
        evict(5);
        assertThat(found(0, 8)).as("any use begins it anew").isEqualTo(1);
        pass(20);
        Sequence late = cache.open(tokens(0, 9));
        assertThat(late.cachedTokens())
                .as("over its limit it is found as long as it is there")
                .isEqualTo(8);
        late.close();
        computed(100, 8).close();
        evict(5);
        assertThat(found(0, 8)).as("and is normal then, the older of two").isZero();
        assertThat(found(100, 8)).isEqualTo(1);
    }

    @ParameterizedTest
    @EnumSource
    void ofEqualClassesTheLongerLimitHolds(EvictionPolicyKind kind) {
        use(kind);
        computed(of(CachePriority.HIGH, 60), 0, 8).close();
        cache.open(of(CachePriority.HIGH, 10), tokens(0, 9)).close();
        computed(100, 8).close();
        pass(50);
        evict(5);
        assertThat(found(100, 8)).isZero();
        computed(200, 8).close();
        evict(5);
        assertThat(found(0, 8)).as("high, and so before a newer normal one").isEqualTo(1);
        assertThat(found(200, 8)).isZero();
    }

    @Test
    void timeLimitsOutOfRangeAreRefused() {
        for (Duration wrong : new Duration[] {Duration.ZERO, Duration.ofMillis(-1), Duration.ofDays(365L * 291)}) {
            assertThatThrownBy(() -> SequenceOptions.builder().timeLimit(wrong))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("The time limit is " + wrong + "; give more than 0 and at most PT");
        }
        SequenceOptions longest =
                SequenceOptions.builder().timeLimit(Duration.ofDays(365L * 290)).build();
        computed(longest, 0, 8).close();
        pass(3600);
        evict(5);
        assertThat(found(0, 8)).isEqualTo(1);
        assertThat(longest).hasToString("SequenceOptions[NORMAL for PT2540400H]");
    }

    @Test
    void aPinnedPrefixOutlivesItsSequenceAndEveryNeedForRoom() throws Exception {
        Sequence sequence = computed(0, 20);
        PinnedPrefix pin = sequence.pin();
        PinnedPrefix again = sequence.pin(9);
        assertThat(pin.blocks()).isEqualTo(2);
        assertThat(pin.tokens()).isEqualTo(16);
        assertThat(again.tokens()).isEqualTo(8);
        sequence.close(ReleaseHint.DISCARD);
        CacheStats stats = cache.stats();
        assertThat(stats.pinnedBlocks()).isEqualTo(2);
        assertThat(stats.usedBlocks()).isEqualTo(2);
        assertThat(stats.openSequences()).isZero();
        assertThat(stats.storedTokens()).isZero();
        evict(4);
        assertThat(batch.add(cache.open(tokens(500, 33)))).isFalse();
        assertThat(cache.open(tokens(0, 17)).cachedTokens()).isEqualTo(16);

        Thread other = new Thread(pin::close);
        other.start();
        other.join();
        pin.close();
        assertThat(pin.isClosed()).isTrue();
        assertThat(cache.stats().pinnedBlocks()).isEqualTo(1);
        again.close();
        assertThat(cache.stats().pinnedBlocks()).isZero();
    }

    @Test
    void aPinTooMuchIsRefusedAndPinsNothing() {
        Sequence sequence = computed(0, 32);
        PinnedPrefix first = sequence.pin(16);
        CacheStats before = cache.stats();
        assertThatThrownBy(sequence::pin)
                .isInstanceOf(IllegalStateException.class)
                .hasMessage("Of 6 blocks 2 are pinned, and at most 3 may be (pinnedShare); 2 more don't fit."
                        + " Close other pins, pin fewer tokens, or give a larger pinnedShare.");
        assertThat(cache.stats()).isEqualTo(before);
        PinnedPrefix third = sequence.pin(24);
        assertThat(cache.stats().pinnedBlocks())
                .as("two of its blocks are pinned already")
                .isEqualTo(3);
        first.close();
        assertThat(cache.stats().pinnedBlocks()).isEqualTo(3);
        third.close();
        assertThat(cache.stats().pinnedBlocks()).isZero();
    }

    @Test
    void whatIsNotCachedCannotBePinned() {
        Sequence sequence = cache.open(tokens(0, 12));
        assertThatThrownBy(() -> sequence.pin(1))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("This sequence has 0 computed tokens; 1 can't be pinned");
        assertThatThrownBy(() -> sequence.pin(-1)).isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(sequence::pin)
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("no full block of 8 tokens is cached");
        assertThat(batch.add(sequence)).isTrue();
        batch.commit();
        PinnedPrefix pin = sequence.pin();
        cache.clearPrefixes();
        assertThat(cache.stats().pinnedBlocks()).isEqualTo(1);
        assertThatThrownBy(sequence::pin).isInstanceOf(IllegalStateException.class);
        sequence.close();
        assertThatThrownBy(sequence::pin)
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("has been closed");
        assertThat(cache.stats().freeBlocks()).isEqualTo(BLOCKS - 1);
        pin.close();
        assertThat(cache.stats().freeBlocks()).isEqualTo(BLOCKS);
        assertThat(cache.stats().cachedBlocks()).isZero();
    }

    /** Of two sequences that computed the same, one's blocks are in the index and the other's are not. */
    @Test
    void aPinHoldsTheBlockThatIsFound() {
        Sequence a = cache.open(tokens(0, 8));
        Sequence b = cache.open(tokens(0, 8));
        assertThat(batch.add(a) && batch.add(b)).isTrue();
        batch.commit();
        a.close();
        PinnedPrefix pin = b.pin();
        b.close();
        evict(5);
        assertThat(found(0, 8)).isEqualTo(1);
        pin.close();
        evict(6);
        assertThat(found(0, 8)).isZero();
    }

    @Test
    void aPinMayBeClosedAfterTheCache() {
        PinnedPrefix pin = computed(0, 8).pin();
        cache.close();
        pin.close();
        use(EvictionPolicyKind.LRU);
    }

    @Test
    void sequencesShareOnlyUnderTheSameSalt() {
        SequenceOptions alice = SequenceOptions.builder().salt("alice").build();
        SequenceOptions bob = SequenceOptions.builder().salt("bob").build();
        computed(alice, 0, 16);
        assertThat(cache.open(tokens(0, 17)).cachedTokens()).isZero();
        assertThat(cache.open(bob, tokens(0, 17)).cachedTokens()).isZero();
        assertThat(cache.open(alice, tokens(0, 17)).cachedTokens()).isEqualTo(16);
        Sequence child = computed(alice, 0, 17).fork();
        child.append(tokens(17, 7));
        assertThat(batch.add(child)).isTrue();
        batch.commit();
        assertThat(cache.open(alice, tokens(0, 25)).cachedTokens())
                .as("a fork keeps its salt")
                .isEqualTo(24);
        assertThat(cache.open(tokens(0, 25)).cachedTokens()).isZero();
        assertThat(alice).hasToString("SequenceOptions[NORMAL, salted]");
    }

    @Test
    void saltsAreNotConcatenated() {
        PrefixHasher hasher = new PrefixHasher(8);
        long[] root = {1, 2, 3, 4};
        long[] a = new long[4];
        long[] b = new long[4];
        hasher.salted(root, "tenant", a);
        hasher.salted(root, "tenant", b);
        assertThat(a).isEqualTo(b).isNotEqualTo(root);
        hasher.salted(root, "tenant2", b);
        assertThat(a).isNotEqualTo(b);
        hasher.salted(new long[] {1, 2, 3, 5}, "tenant", b);
        assertThat(a).isNotEqualTo(b);
        hasher.salted(a, "x", b);
        long[] direct = new long[4];
        hasher.salted(root, "tenantx", direct);
        assertThat(b).isNotEqualTo(direct);
    }
}
