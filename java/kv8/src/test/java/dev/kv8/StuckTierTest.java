package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.junit.jupiter.api.Test;

/** A tier that keeps all that it gets and answers nothing holds up no other. */
class StuckTierTest {
    private static final int[] PROMPT = TieredCache.prompt(1, 41); // five whole blocks, and one token to compute

    private static Tiers.Builder tiers(BlockStore... stores) {
        return TieredCache.tiers(stores)
                .staging(ByteSize.of(8L * TieredCache.frameBytes())) // four blocks for each direction
                .writtenOnFirstUse(true);
    }

    /** Has nothing, and keeps what is to be written until it is told to refuse that. */
    private static final class KeepingStore extends NamedStore {
        private final Queue<BlockTransfer> kept = new ConcurrentLinkedQueue<>();

        KeepingStore(String name) {
            super(name, new SilentStore());
        }

        @Override
        public int lookup(List<BlockKey> keys, long deadlineNanos) {
            return 0;
        }

        @Override
        public void store(BlockTransfer transfer) {
            kept.add(transfer);
        }

        void refuseAll() {
            for (BlockTransfer next = kept.poll(); next != null; next = kept.poll()) {
                for (int i = 0; i < next.size(); i++) {
                    next.refused(i);
                }
            }
        }
    }

    private static void await(TieredCache test, HostBlockStore host, int blocks) {
        TieredCache.await(() -> {
            test.cache.poll();
            return host.blocks() == blocks;
        });
    }

    @Test
    void othersLoad() {
        HostBlockStore host = HostBlockStore.create(ByteSize.mib(1));
        try (TieredCache test = new TieredCache(12, tiers(host).build())) {
            test.serve(PROMPT);
            test.settle();
        }
        SilentStore silent = new SilentStore();
        try (TieredCache test = new TieredCache(30, tiers(host, silent).build())) {
            Sequence waiting = test.cache.open(TieredCache.prompt(2, 81));
            TieredCache.await(() -> silent.held() == 2);
            assertThat(test.serve(PROMPT)).isEqualTo(40);
            waiting.close();
            test.cache.poll();
            silent.failAll();
            test.checkIdle();
        }
    }

    @Test
    void othersAreWrittenTo() {
        HostBlockStore host = HostBlockStore.create(ByteSize.mib(1));
        KeepingStore keeping = new KeepingStore("keeping");
        Tiers tiers = tiers(host, keeping).storeDeadline(Duration.ofSeconds(1)).build();
        try (TieredCache test = new TieredCache(40, tiers)) {
            for (int i = 0; i < 4; i++) {
                test.serve(TieredCache.prompt(i, 41));
                await(test, host, 5 * (i + 1));
            }
            assertThat(test.tier(1).late()).isPositive();
            keeping.refuseAll();
            TieredCache.await(() -> {
                keeping.refuseAll();
                return !test.cache.poll();
            });
            assertThat(test.tier(1).refused() + test.tier(1).dropped()).isEqualTo(20);
            test.checkIdle();
        }
    }

    /** What comes from a slower tier is written to the faster one from where it was loaded to. */
    @Test
    void othersLoadWhatItDoesNotTake() {
        HostBlockStore host = HostBlockStore.create(ByteSize.mib(1));
        try (TieredCache test = new TieredCache(12, tiers(host).build())) {
            test.serve(PROMPT);
            test.settle();
        }
        KeepingStore keeping = new KeepingStore("faster");
        try (TieredCache test = new TieredCache(30, tiers(keeping, host).build())) {
            assertThat(test.serve(PROMPT)).isEqualTo(40);
            assertThat(test.tier(0).dropped()).isPositive();
            TieredCache.await(() -> {
                keeping.refuseAll();
                return !test.cache.poll();
            });
            test.checkIdle();
        }
    }

    @Test
    void whatDoesNotGetToATierIsCounted() {
        KeepingStore keeping = new KeepingStore("keeping");
        Tiers tiers = TieredCache.tiers(keeping)
                .staging(ByteSize.of(4L * TieredCache.frameBytes()))
                .writtenOnFirstUse(true)
                .storeDeadline(Duration.ofHours(1))
                .build();
        int prompts = 1000; // more than what can be noted, and most of them are evicted by the end
        try (TieredCache test = new TieredCache(12, tiers)) {
            for (int i = 0; i < prompts; i++) {
                test.serve(TieredCache.prompt(i, 41));
            }
            long full = test.tier(0).dropped();
            assertThat(full).as("more than can be noted").isPositive();
            TieredCache.await(() -> {
                keeping.refuseAll();
                return !test.cache.poll();
            });
            assertThat(test.tier(0).dropped()).as("evicted meanwhile").isGreaterThan(full);
            assertThat(test.tier(0).refused() + test.tier(0).dropped()).isEqualTo(5L * prompts);
            test.checkIdle();
        }
    }
}
