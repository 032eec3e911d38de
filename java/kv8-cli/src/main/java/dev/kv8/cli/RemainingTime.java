package dev.kv8.cli;

/** An estimate of how long work still takes, from how long the part took that has been done since it was first asked. */
final class RemainingTime {
    /** Columns that the longest text fills. */
    static final int WIDTH = 16;

    private static final long NANOS_A_SECOND = 1_000_000_000L;

    private long firstDone = -1;
    private long firstNanos;

    /** Words such as "12 min left"; empty while nothing is known, or nothing is left. */
    String text(long done, long total, long nanos) {
        if (firstDone < 0) {
            firstDone = done;
            firstNanos = nanos;
        }
        if (done <= firstDone || done >= total) {
            return "";
        }
        double each = (double) (nanos - firstNanos) / (done - firstDone);
        long seconds = (long) Math.ceil(each * (total - done) / NANOS_A_SECOND);
        if (seconds < 100) {
            return seconds + " s left";
        }
        long minutes = (seconds + 59) / 60;
        return minutes < 100 ? minutes + " min left" : (minutes + 59) / 60 + " h left";
    }
}
