package dev.kv8;

import java.util.List;

/**
 * How a scheduler makes room when running sequences have grown into all blocks: whose blocks go, and whether what they hold is
 * moved to host memory ({@link KvCache#swapOut}) or computed again. Either gives the same tokens. An engine may bring its own.
 */
@FunctionalInterface
public interface PreemptionPolicy {
    /** What happens to what a sequence has stored. */
    enum Action {
        /** Its blocks are moved to host memory, and back when there is room. */
        SWAP,
        /** Its sequence is closed; what is no longer cached when there is room is computed again. */
        RECOMPUTE
    }

    /**
     * What is known when a sequence has to go.
     *
     * @param tokens that it has stored
     * @param bytes of their blocks
     * @param movedBytesPerSecond between device and host, as measured; 0 when nothing has been moved yet
     * @param computedTokensPerSecond of prompts, as measured; 0 when nothing has been computed yet
     */
    record Cost(int tokens, long bytes, double movedBytesPerSecond, double computedTokensPerSecond) {}

    /** What to do with that sequence. It is asked on the thread that drives the cache, at each preemption. */
    Action choose(Cost cost);

    /**
     * What takes less time by the measured rates: moving all bytes twice, or computing all tokens once. While nothing has been moved,
     * one sequence is, which measures it; while nothing has been computed, nothing is moved.
     */
    static PreemptionPolicy faster() {
        return cost -> {
            double compute = cost.tokens() / cost.computedTokensPerSecond();
            double move = cost.movedBytesPerSecond() == 0 ? 0 : 2 * cost.bytes() / cost.movedBytesPerSecond();
            return cost.computedTokensPerSecond() > 0 && move < compute ? Action.SWAP : Action.RECOMPUTE;
        };
    }

    /** Always the same; {@code RECOMPUTE} takes no host memory. */
    static PreemptionPolicy always(Action action) {
        return cost -> action;
    }

    /**
     * Which of the running sequences gives its blocks back: of those of the lowest class the one that comes last.
     *
     * @param running those that may, in the order in which they are served, the oldest first in a class; not empty
     * @return its index
     */
    default int victim(List<Sequence> running) {
        int victim = 0;
        for (int i = 1; i < running.size(); i++) {
            CachePriority priority = running.get(i).options().priority();
            if (priority.compareTo(running.get(victim).options().priority()) <= 0) {
                victim = i;
            }
        }
        return victim;
    }
}
