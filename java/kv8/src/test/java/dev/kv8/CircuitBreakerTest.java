package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class CircuitBreakerTest {
    private static final long SECOND = 1_000_000_000L;
    private long now = Long.MAX_VALUE - SECOND; // the clock may wrap
    private final CircuitBreaker breaker = new CircuitBreaker(() -> now);

    private void fail(int times) {
        for (int i = 0; i < times; i++) {
            assertThat(breaker.allows()).isTrue();
            breaker.failed();
        }
    }

    @Test
    void opensAfterThreeFailuresInARowForASecond() {
        fail(2);
        breaker.succeeded();
        fail(2);
        assertThat(breaker.isOpen()).isFalse();
        fail(1);
        assertThat(breaker.isOpen()).isTrue();
        assertThat(breaker.allows()).isFalse();
        now += SECOND - 1;
        assertThat(breaker.allows()).isFalse();
        now += 1;
        assertThat(breaker.isOpen()).isFalse();
        assertThat(breaker.allows()).isTrue();
    }

    @Test
    void letsOneOperationTryAndClosesWhenItSucceeds() {
        fail(3);
        now += SECOND;
        assertThat(breaker.allows()).isTrue();
        assertThat(breaker.allows())
                .as("a second one while the first has not ended")
                .isFalse();
        breaker.succeeded();
        assertThat(breaker.allows()).isTrue();
        assertThat(breaker.allows()).isTrue();
    }

    @Test
    void doublesTheTimeUpToAMinuteWhileTriesFail() {
        fail(3);
        for (long seconds = 1; seconds < 200; seconds *= 2) {
            long wait = Math.min(60, seconds) * SECOND;
            now += wait - 1;
            assertThat(breaker.allows()).as("after %d s", seconds).isFalse();
            now += 1;
            assertThat(breaker.allows()).as("after %d s", seconds).isTrue();
            breaker.failed();
        }
    }

    @Test
    void aFailureOfAnOperationThatBeganBeforeDoesNotProlong() {
        fail(3);
        now += SECOND / 2;
        breaker.failed();
        now += SECOND / 2;
        assertThat(breaker.allows()).isTrue();
    }
}
