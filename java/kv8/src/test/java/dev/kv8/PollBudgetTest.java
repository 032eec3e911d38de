package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/** What a poll takes does not grow with those who wait. */
class PollBudgetTest {
    private static final int WAITING = 8;

    /** Bringing a block to the pool takes all the time that a poll has. */
    private static final class SlowBackend extends InMemoryBackend {
        private boolean slow;
        private int placed;

        SlowBackend() {
            super(true);
        }

        @Override
        public void upload(ByteBuffer source, DeviceMemory target, long offset) {
            super.upload(source, target, offset);
            if (slow) {
                placed++;
                long begin = System.nanoTime();
                while (System.nanoTime() - begin < 1_000_000) {
                    Thread.onSpinWait();
                }
            }
        }
    }

    @Test
    void aPollPlacesOneBlockWhenThatTakesAllItsTimeHoweverManyWait() {
        HostBlockStore host = HostBlockStore.create(ByteSize.mib(1));
        Tiers tiers = TieredCache.tiers(host).writtenOnFirstUse(true).build();
        try (TieredCache test = new TieredCache(100, tiers)) {
            for (int i = 0; i < WAITING; i++) {
                test.serve(TieredCache.prompt(i, 25));
            }
            test.settle();
        }
        SlowBackend backend = new SlowBackend();
        try (TieredCache test =
                new TieredCache(backend, TieredCache.config(100, tiers).build())) {
            List<Sequence> waiting = new ArrayList<>();
            for (int i = 0; i < WAITING; i++) {
                waiting.add(test.cache.open(TieredCache.prompt(i, 25)));
            }
            TieredCache.await(() -> test.tier(0).loaded() == 3 * WAITING);
            backend.slow = true;
            for (int poll = 1; poll <= 3 * WAITING; poll++) {
                test.cache.poll();
                assertThat(backend.placed).isEqualTo(poll);
                if (poll == 3 * WAITING - WAITING) {
                    assertThat(waiting)
                            .as("each in turn")
                            .allMatch(sequence -> sequence.table.size() == 0 && sequence.loading != null);
                }
            }
            backend.slow = false;
            for (Sequence sequence : waiting) {
                assertThat(sequence.isLoading()).isFalse();
                assertThat(sequence.cachedTokens()).isEqualTo(24);
                test.checkContent(sequence);
                sequence.close();
            }
            test.checkIdle();
        }
    }
}
