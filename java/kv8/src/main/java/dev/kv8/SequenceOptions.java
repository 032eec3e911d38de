package dev.kv8;

import java.time.Duration;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * How a cache treats one sequence: the class of its blocks when they are cached, for how long, and whose prefixes it may share.
 * A fork has its parent's. Immutable.
 *
 * <pre>{@code
 * var options = SequenceOptions.builder().priority(CachePriority.HIGH).timeLimit(Duration.ofMinutes(10)).salt(tenant).build();
 * Sequence sequence = cache.open(options, promptTokens);
 * }</pre>
 */
public final class SequenceOptions {
    /** Class {@link CachePriority#NORMAL}, no time limit, no salt. */
    public static final SequenceOptions DEFAULT = builder().build();

    private final CachePriority priority;
    private final @Nullable Duration timeLimit;
    private final String salt;
    private final long limitTicks;

    private SequenceOptions(Builder builder) {
        priority = builder.priority;
        timeLimit = builder.timeLimit;
        salt = builder.salt;
        limitTicks = timeLimit == null ? RankedEviction.NO_LIMIT : RankedEviction.ticks(timeLimit);
    }

    /** Normal priority, no time limit, no salt. */
    public static Builder builder() {
        return new Builder();
    }

    /** The class in which its blocks stay cached. */
    public CachePriority priority() {
        return priority;
    }

    /** Empty when the class holds until the block is evicted. */
    public Optional<Duration> timeLimit() {
        return Optional.ofNullable(timeLimit);
    }

    /** Empty for prefixes that all sequences without a salt share. */
    public String salt() {
        return salt;
    }

    long limitTicks() {
        return limitTicks;
    }

    @Override
    public String toString() {
        return "SequenceOptions[" + priority + (timeLimit == null ? "" : " for " + timeLimit)
                + (salt.isEmpty() ? "" : ", salted") + "]";
    }

    /** Not for use by several threads. */
    public static final class Builder {
        private CachePriority priority = CachePriority.NORMAL;
        private @Nullable Duration timeLimit;
        private String salt = "";

        private Builder() {}

        public Builder priority(CachePriority given) {
            priority = given;
            return this;
        }

        /**
         * For how long a block keeps its class while nobody holds it; without one until it is evicted. After that a block of a
         * class above {@link CachePriority#NORMAL} is normal, and any other is evicted before all that are not over their limit.
         * Time is counted in steps of about a millisecond; it never makes a block leave while there is room.
         *
         * @throws IllegalArgumentException when it is zero, negative or longer than 290 years
         */
        public Builder timeLimit(Duration given) {
            if (given.isZero() || given.isNegative() || given.compareTo(RankedEviction.LONGEST_LIMIT) > 0) {
                throw new IllegalArgumentException("The time limit is " + given + "; give more than 0 and at most "
                        + RankedEviction.LONGEST_LIMIT + ", or none for no limit.");
            }
            timeLimit = given;
            return this;
        }

        /**
         * A tenant, a user, an adapter: the sequence shares prefixes only with sequences of the same salt, in addition to {@link
         * KvCacheConfig#salt}, which the whole cache has. It enters the key of the first block and through that all others.
         */
        public Builder salt(String text) {
            salt = text;
            return this;
        }

        public SequenceOptions build() {
            return new SequenceOptions(this);
        }
    }
}
