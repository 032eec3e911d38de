package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class WorkPaceTest {
    private long now = Long.MAX_VALUE - 1_500; // as a clock may be that overflows
    private final WorkPace pace = new WorkPace(1_000, () -> now);

    private void work(long nanos) {
        pace.begin();
        now += nanos;
        pace.end();
    }

    @Test
    void restsAsLongAsItHasWorked() {
        assertThat(pace.isRestTime()).isFalse();
        work(1_200);
        assertThat(pace.isRestTime()).isTrue();
        now += 1_199;
        assertThat(pace.isRestTime()).isTrue();
        now += 1;
        assertThat(pace.isRestTime()).isFalse();
    }

    @Test
    void manyAskersInARowCostWhatOneDoes() {
        long start = now;
        for (int asker = 0; asker < 100; asker++) {
            if (!pace.isRestTime()) {
                work(1_000);
            }
        }
        assertThat(now - start).isEqualTo(1_000);
    }

    @Test
    void littleWorkNeedsNoRest() {
        for (int i = 0; i < 10; i++) {
            work(400);
            assertThat(pace.isRestTime()).isFalse();
        }
    }
}
