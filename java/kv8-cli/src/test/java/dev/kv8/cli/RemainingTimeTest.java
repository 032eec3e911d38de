package dev.kv8.cli;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class RemainingTimeTest {
    private static final long SECOND = 1_000_000_000L;

    private final RemainingTime remaining = new RemainingTime();

    @Test
    void isEstimatedFromWhatHasBeenDoneSinceTheFirstCall() {
        // Resumed work begins in the middle.
        assertThat(remaining.text(100, 200, 7 * SECOND)).isEmpty();
        assertThat(remaining.text(110, 200, 17 * SECOND)).isEqualTo("90 s left");
        assertThat(remaining.text(110, 200, 77 * SECOND)).isEqualTo("11 min left");
        assertThat(remaining.text(101, 200, 607 * SECOND)).isEqualTo("17 h left");
        assertThat(remaining.text(200, 200, 700 * SECOND)).isEmpty();
    }
}
