package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class WorkPaceTest {
    private long now = Long.MAX_VALUE - 1_500; // as a clock may be that overflows
    private final WorkPace pace = new WorkPace(1_000, () -> now);

    private void work(long nanos) {
        assertThat(pace.begin()).isTrue();
        now += nanos;
        pace.end();
    }

    @Test
    void restsAsLongAsItHasWorked() {
        work(1_200);
        assertThat(pace.begin()).isFalse();
        now += 1_199;
        assertThat(pace.begin()).isFalse();
        now += 1;
        assertThat(pace.begin()).isTrue();
    }

    @Test
    void manyCallersInARowCostWhatOneDoes() {
        long start = now;
        for (int caller = 0; caller < 100; caller++) {
            if (pace.begin()) {
                now += 1_000;
                pace.end();
            }
        }
        assertThat(now - start).isEqualTo(1_000);
    }

    @Test
    void littleWorkNeedsNoRest() {
        for (int i = 0; i < 10; i++) {
            work(400);
        }
    }
}
