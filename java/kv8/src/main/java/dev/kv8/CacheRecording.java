package dev.kv8;

import jdk.jfr.FlightRecorder;
import org.jspecify.annotations.Nullable;

/**
 * A cache's part in flight recordings. Decision: no event class is touched before the process has a flight recorder, because loading one
 * starts half of JFR, which took 0.7 to 1.8 s on a busy machine; asking whether there is a recorder is one volatile read. So
 * statistics begin with the cache's first operation after that. For whoever is inside.
 */
final class CacheRecording {
    private final StatsBoard board;
    private final String model;
    private @Nullable Runnable end;
    private boolean ended;

    CacheRecording(StatsBoard board, String model) {
        this.board = board;
        this.model = model;
    }

    /** Whether event classes may be touched. */
    static boolean isOn() {
        return FlightRecorder.isInitialized();
    }

    /** Registers the cache's statistics once there is a recorder. */
    void check() {
        if (end == null && isOn() && !ended) {
            end = CacheStatisticsEvent.record(board, model);
        }
    }

    /** Recordings have nothing more of this cache. */
    void end() {
        ended = true;
        if (end != null) {
            end.run();
        }
    }
}
