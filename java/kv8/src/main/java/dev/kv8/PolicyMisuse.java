package dev.kv8;

/** What an {@link EvictionPolicy} says to a call that does not fit a block's state. */
final class PolicyMisuse {
    private PolicyMisuse() {}

    static IllegalStateException admittedTwice(int block) {
        return new IllegalStateException(
                "Block " + block + " is cached; evict or forget it before it is admitted again.");
    }

    static IllegalStateException releasedTwice(int block) {
        return new IllegalStateException("Block " + block + " is idle; it can't be released twice.");
    }

    static IllegalStateException notCached(int block) {
        return new IllegalStateException("Block " + block + " is not cached; admit it first.");
    }

    static IllegalStateException nothingIdle() {
        return new IllegalStateException("Every cached block is held; there is none to evict. Ask idle() first.");
    }
}
