package dev.kv8;

/**
 * Units per second, as measured lately: the newest measurement counts a quarter. One thread updates it, any thread reads it.
 */
final class MeasuredRate {
    private static final double WEIGHT = 0.25;

    private volatile double perSecond;

    void measured(double units, long nanos) {
        if (units > 0 && nanos > 0) {
            double now = units * 1e9 / nanos;
            perSecond = perSecond == 0 ? now : (1 - WEIGHT) * perSecond + WEIGHT * now;
        }
    }

    /** 0 before the first measurement. */
    double perSecond() {
        return perSecond;
    }
}
