package dev.kv8;

import java.util.function.IntConsumer;
import org.jspecify.annotations.Nullable;

/**
 * How much of a prompt is cached when every group of layers has blocks of its own: as much as each of them can go on from. One that sees
 * all keys needs all blocks, one with a window those of the last window. For the writer thread only.
 */
final class GroupHits {
    private final LayerGroups groups;
    private final int blockSize;
    private final BlockPool pool;
    private final GroupKey key = new GroupKey();
    private PrefixCache.@Nullable UseListener uses;

    GroupHits(LayerGroups groups, int blockSize, BlockPool pool) {
        this.groups = groups;
        this.blockSize = blockSize;
        this.pool = pool;
    }

    void listen(PrefixCache.UseListener listener) {
        uses = listener;
    }

    private int find(int group, BlockTable table, int index) {
        key.of(group, table.keys(), index * PrefixIndex.KEY);
        return pool.find(key.words, key.at);
    }

    /**
     * The largest number of blocks, {@code from} to {@code most}, that a table can go on from, which stores those before {@code from}.
     *
     * @param makeKeys makes the table's keys of that many blocks
     */
    int longest(BlockTable table, int from, int most, IntConsumer makeKeys) {
        return groups.longest(from, most, presence(table, makeKeys));
    }

    private LayerGroups.Presence presence(BlockTable table, IntConsumer makeKeys) {
        return (group, index) -> {
            makeKeys.accept(index + 1);
            return find(group, table, index) >= 0;
        };
    }

    /** Takes over as much as there is for a table that could have {@code most} blocks. */
    void takeOver(BlockTable table, int most, IntConsumer makeKeys) {
        int from = table.computed / blockSize;
        LayerGroups.Presence present = presence(table, makeKeys);
        int end = groups.longest(from, most, present);
        table.ends().asked(from, end, groups.withoutWindow(from, most, present), most);
        if (end > from) {
            take(table, end);
        }
    }

    /** Puts the blocks of {@link #longest} behind those that the table stores; what falls out of a window by that goes back. */
    private void take(BlockTable table, int end) {
        int from = table.computed / blockSize;
        int begun = table.size();
        for (int group = 0; group < groups.count(); group++) {
            table.giveBackFront(group, Math.min(begun, groups.firstNeeded(group, end)), groups, pool);
        }
        table.addGone(end);
        for (int group = 0; group < groups.count(); group++) {
            table.setGone(group, Math.max(table.gone(group), groups.firstNeeded(group, end)));
            if (begun > from && from >= table.gone(group)) { // a part of it is there
                pool.release(table.block(from, group));
            }
        }
        for (int index = from; index < end; index++) {
            takeAt(table, index);
        }
        table.computed = end * blockSize;
    }

    /** Of the blocks that an empty table would {@link #take}, those that are held already. */
    int held(BlockTable table, int end) {
        int held = 0;
        for (int group = 0; group < groups.count(); group++) {
            held += held(group, table, groups.firstNeeded(group, end), end);
        }
        return held;
    }

    private int held(int group, BlockTable table, int from, int end) {
        int held = 0;
        for (int index = from; index < end; index++) {
            held += pool.references(find(group, table, index)) > 0 ? 1 : 0;
        }
        return held;
    }

    // ---- all that a table without blocks once had, behind what is gone

    /** How many leading blocks, {@code most} at most, are cached in all groups. */
    int leading(BlockTable table, int most) {
        for (int index = 0; index < most; index++) {
            for (int group = 0; group < groups.count(); group++) {
                if (index >= table.gone(group) && find(group, table, index) < 0) {
                    return index;
                }
            }
        }
        return most;
    }

    /** Puts the first {@code count} blocks of each group into the table. */
    void takeLeading(BlockTable table, int count) {
        table.addGone(count);
        for (int index = 0; index < count; index++) {
            takeAt(table, index);
        }
    }

    private void takeAt(BlockTable table, int index) {
        for (int group = 0; group < groups.count(); group++) {
            if (index >= table.gone(group)) {
                key.of(group, table.keys(), index * PrefixIndex.KEY);
                table.replace(index, group, pool.take(key.words, key.at, table.options()));
                if (uses != null) {
                    uses.shared(key.words, key.at, group, 0);
                }
            }
        }
    }

    /** Of the blocks that {@link #takeLeading} takes, those that are held already. */
    int heldLeading(BlockTable table, int count) {
        int held = 0;
        for (int group = 0; group < groups.count(); group++) {
            held += held(group, table, table.gone(group), count);
        }
        return held;
    }
}
