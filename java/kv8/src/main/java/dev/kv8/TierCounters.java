package dev.kv8;

import java.util.EnumMap;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;

/** Counts what becomes of a tier's blocks, and logs the first of each trouble. For any thread. */
final class TierCounters {
    private static final System.Logger LOG = System.getLogger("dev.kv8");

    enum Kind {
        LOADED,
        ABSENT,
        DAMAGED,
        INCOMPATIBLE,
        FAILED,
        LATE,
        REPEATED,
        RECOMPUTED,
        STORED,
        REFUSED,
        DROPPED,
        LOADED_BYTES,
        STORED_BYTES
    }

    private final String name;
    private final Map<Kind, AtomicLong> counts = new EnumMap<>(Kind.class);
    private final Set<String> logged = ConcurrentHashMap.newKeySet();

    TierCounters(String name) {
        this.name = name;
        for (Kind kind : Kind.values()) {
            counts.put(kind, new AtomicLong());
        }
    }

    void add(Kind kind, long count) {
        counter(kind).addAndGet(count);
    }

    private AtomicLong counter(Kind kind) {
        return Objects.requireNonNull(counts.get(kind));
    }

    /**
     * Counts it, and logs it when it is the first of what {@code what} says: one of the few messages of a kind, without what differs
     * from one time to the next, which is in {@code detail}.
     */
    void trouble(Kind kind, long count, String what, String detail) {
        add(kind, count);
        if (logged.add(what)) {
            LOG.log(
                    System.Logger.Level.WARNING,
                    "Tier \"" + name + "\": " + what + detail
                            + ". Such blocks are computed again; further ones are only counted"
                            + " (KvCache.tierStats).");
        }
    }

    TierStats stats(double bytesPerSecond, boolean open) {
        return new TierStats(
                name,
                of(Kind.LOADED),
                of(Kind.ABSENT),
                of(Kind.DAMAGED),
                of(Kind.INCOMPATIBLE),
                of(Kind.FAILED),
                of(Kind.LATE),
                of(Kind.REPEATED),
                of(Kind.RECOMPUTED),
                of(Kind.STORED),
                of(Kind.REFUSED),
                of(Kind.DROPPED),
                of(Kind.LOADED_BYTES),
                of(Kind.STORED_BYTES),
                bytesPerSecond,
                open);
    }

    private long of(Kind kind) {
        return counter(kind).get();
    }
}
