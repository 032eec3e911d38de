package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** A tier that failed three times, is asked again a second later, and then whoever asked does not wait for the answer. */
class FailingTierTest {
    private static final int[] PROMPT = TieredCache.prompt(1, 41); // five whole blocks, and one token to compute

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void aTierIsAskedAgainAfterALoadThatWasGivenUp(boolean answers) {
        MoodyStore store = new MoodyStore(HostBlockStore.create(ByteSize.mib(1)));
        Tiers tiers = Tiers.builder()
                .add(store)
                .loadDeadline(Duration.ofMillis(answers ? 60_000 : 100))
                .prefillTokensPerSecond(1)
                .build();
        try (TieredCache test = new TieredCache(12, tiers)) {
            test.serve(PROMPT);
            test.serve(PROMPT);
            test.settle();
            test.evictAll();
            store.becomes(MoodyStore.Mood.FAILING_LOOKUPS);
            for (int i = 0; i < 3; i++) {
                test.serve(TieredCache.prompt(50 + i, 41));
                test.settle();
            }
            assertThat(test.tier(0).open()).isTrue();
            store.becomes(MoodyStore.Mood.WITHHOLDING);
            TieredCache.await(() -> !test.tier(0).open());
            Sequence asking = test.cache.open(PROMPT);
            TieredCache.await(store::isAsked);
            asking.close();
            test.cache.poll();
            assertThat(test.tier(0).open()).as("while it is tried").isTrue();
            store.becomes(MoodyStore.Mood.GOOD);
            if (answers) {
                store.answer();
            } else {
                TieredCache.await(() -> {
                    test.cache.poll();
                    return test.tier(0).late() > 0;
                });
            }
            TieredCache.await(() -> !test.tier(0).open());
            assertThat(test.serve(PROMPT)).as("from the tier").isEqualTo(40);
            store.answer();
            test.checkIdle();
        }
    }
}
