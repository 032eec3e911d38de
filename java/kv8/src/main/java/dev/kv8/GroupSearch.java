package dev.kv8;

import java.util.Arrays;
import java.util.BitSet;
import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;

/**
 * How far a prompt could go with what the pool and the tiers have together when every group of layers has blocks of its own, and which
 * blocks that takes. Decision: tiers are asked what they have before anything is loaded, because a group with a window needs
 * only the window before the end, and where the end is depends on what all of them have. For one thread after the other.
 */
final class GroupSearch {
    private static final int POOL = -1;
    private static final int NOWHERE = Integer.MAX_VALUE;

    private final LayerGroups groups;
    private final int from;
    private final int to;
    /** By index from {@code from} on, then by group. */
    private final List<WantedBlock> blocks;

    /** By block: {@link #POOL}, the tier that has it by the order of asking, or {@link #NOWHERE}. */
    private final int[] places;

    private int tiersAsked;

    /** @param cached which of {@code blocks} the pool has: of each group those with index {@code from} to {@code to}, by index and then by group */
    GroupSearch(LayerGroups groups, int from, int to, List<WantedBlock> blocks, BitSet cached) {
        this.groups = groups;
        this.from = from;
        this.to = to;
        this.blocks = blocks;
        this.places = new int[blocks.size()];
        Arrays.setAll(places, i -> cached.get(i) ? POOL : NOWHERE);
    }

    /** The blocks that nobody asked so far has. */
    private int[] unknown() {
        return IntStream.range(0, places.length)
                .filter(i -> places[i] == NOWHERE)
                .toArray();
    }

    /** The keys of blocks that nobody asked so far has. */
    List<BlockKey> unknownKeys() {
        return IntStream.of(unknown()).mapToObj(i -> blocks.get(i).key()).toList();
    }

    /** The tier that was asked for {@link #unknownKeys} has those whose bits are set. */
    void found(BitSet present) {
        int[] asked = unknown();
        for (int i = 0; i < asked.length; i++) {
            if (present.get(i)) {
                places[asked[i]] = tiersAsked;
            }
        }
        tiersAsked++;
    }

    /** How far the prompt gets, in blocks. */
    int end() {
        return groups.longest(from, to, (group, index) -> places[number(group, index)] != NOWHERE);
    }

    /** Blocks of tokens that an {@link #end} gains. */
    int gained(int end) {
        return end - from;
    }

    private int number(int group, int index) {
        return (index - from) * groups.count() + group;
    }

    /** What the prompt needs to get there and the pool has. */
    List<WantedBlock> neededFromPool(int end) {
        return needed(end).filter(i -> places[i] == POOL).mapToObj(blocks::get).toList();
    }

    /** What it needs from the tiers: all that the first one has before what the next one has, because each is asked for a run. */
    List<WantedBlock> neededFromTiers(int end) {
        return needed(end)
                .filter(i -> places[i] != POOL)
                .boxed()
                .sorted(Comparator.comparingInt(i -> places[i]))
                .map(blocks::get)
                .toList();
    }

    private IntStream needed(int end) {
        return IntStream.range(0, number(0, end))
                .filter(i -> from + i / groups.count() >= groups.firstNeeded(i % groups.count(), end));
    }
}
