package dev.kv8;

import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;

/**
 * Which layers lie in a block together. Layers with one window are of one kind; where all are, there is one group and a block has all
 * layers. Else blocks of all groups are pages of one size in one pool, so a page that one group gives back serves any other, and a
 * group that looks less far back holds fewer of them. A kind with more layers than fit in a page has several groups.
 *
 * <p>Decision: the layers of a page are chosen so that the least is left empty, where what the kind with the widest view wastes counts
 * twice, because it keeps everything; and so that there are at most {@link #MOST}, because every group costs a block table.
 */
final class LayerGroups {
    /** Groups of a cache. */
    static final int MOST = 8;

    private final int blockSize;
    /** By layer. */
    private final int[] groups;
    /** By group, 0 for all; the widest view first. */
    private final int[] windows;

    private LayerGroups(int blockSize, int[] groups, int[] windows) {
        this.blockSize = blockSize;
        this.groups = groups;
        this.windows = windows;
    }

    /**
     * @param layerWindows keys that a query of each layer sees, its own included; 0 = all
     * @throws IllegalArgumentException when there are more than {@link #MOST} different ones
     */
    static LayerGroups of(int blockSize, int[] layerWindows) {
        int[] kinds = Arrays.stream(layerWindows)
                .map(window -> -view(window))
                .sorted()
                .distinct()
                .map(view -> view == -Integer.MAX_VALUE ? 0 : -view)
                .toArray();
        if (kinds.length > MOST) {
            throw new IllegalArgumentException("The layers have " + kinds.length + " different windows, from "
                    + kinds[kinds.length - 1] + " to " + (kinds[0] == 0 ? "all keys" : kinds[0])
                    + "; a cache takes " + MOST
                    + ". Give some layers the next larger window, their attention its own.");
        }
        int[] counts = Arrays.stream(kinds)
                .map(kind -> (int) Arrays.stream(layerWindows)
                        .filter(window -> window == kind)
                        .count())
                .toArray();
        int pageLayers = pageLayers(counts);
        int[] groups = new int[layerWindows.length];
        int[] windows = new int
                [IntStream.of(counts).map(count -> pages(count, pageLayers)).sum()];
        int first = 0;
        for (int kind = 0; kind < kinds.length; kind++) {
            int pages = pages(counts[kind], pageLayers);
            Arrays.fill(windows, first, first + pages, kinds[kind]);
            for (int layer = 0, i = 0; layer < groups.length; layer++) {
                if (layerWindows[layer] == kinds[kind]) { // as even as it goes
                    groups[layer] = first + (int) ((long) i++ * pages / counts[kind]);
                }
            }
            first += pages;
        }
        return new LayerGroups(blockSize, groups, windows);
    }

    private static int pageLayers(int[] counts) {
        int widest = IntStream.of(counts).max().orElseThrow();
        int best = widest;
        for (int layers = widest; layers >= 1; layers--) {
            if (groups(counts, layers) <= MOST && waste(counts, layers) < waste(counts, best)) {
                best = layers;
            }
        }
        return best;
    }

    private static int groups(int[] counts, int pageLayers) {
        return IntStream.of(counts).map(count -> pages(count, pageLayers)).sum();
    }

    private static int waste(int[] counts, int pageLayers) {
        int waste = 0;
        for (int kind = 0; kind < counts.length; kind++) {
            int empty = pages(counts[kind], pageLayers) * pageLayers - counts[kind];
            waste += kind == 0 ? 2 * empty : empty;
        }
        return waste;
    }

    private static int pages(int layers, int pageLayers) {
        return (layers - 1) / pageLayers + 1;
    }

    private static int view(int window) {
        return window == 0 ? Integer.MAX_VALUE : window;
    }

    int count() {
        return windows.length;
    }

    /** Whether a block has all layers. */
    boolean isOne() {
        return windows.length == 1;
    }

    int of(int layer) {
        return groups[layer];
    }

    /** Keys that a query of a group's layers sees, its own included; 0 = all. */
    int window(int group) {
        return windows[group];
    }

    /** What {@link #window(int)} is for each group. */
    List<Integer> windows() {
        return Arrays.stream(windows).boxed().toList();
    }

    /**
     * Blocks of a group that a text of {@code tokens} needs at most while it is computed {@code step} tokens at a time: the window of a
     * step's first query may begin at the end of a block, and its last query may begin another.
     */
    long blocks(int group, long tokens, long step) {
        long whole = blocksFor(tokens);
        return windows[group] == 0 ? whole : Math.min(whole, blocksFor(windows[group] - 1L + step + blockSize - 1));
    }

    /** Blocks of all groups that a text of {@code tokens} needs at most, when it is computed a block at a time. */
    long blocks(long tokens) {
        long all = 0;
        for (int group = 0; group < windows.length; group++) {
            all += blocks(group, tokens, blockSize);
        }
        return all;
    }

    private long blocksFor(long tokens) {
        return tokens == 0 ? 0 : (tokens - 1) / blockSize + 1;
    }

    /** The first block that a group needs to go on behind the first {@code blocks}. */
    int firstNeeded(int group, int blocks) {
        return firstSeen(group, blocks * blockSize);
    }

    /** Which blocks there are to go on from. */
    interface Presence {
        boolean has(int group, int index);
    }

    /**
     * How many leading blocks, {@code from} to {@code most}, a text can go on from that has those before {@code from}: a group that sees
     * all keys needs all of them, one with a window those of the last window.
     */
    int longest(int from, int most, Presence present) {
        int end = withoutWindow(from, most, present);
        for (int before = -1; end > from && end != before; ) {
            before = end;
            for (int group = 0; group < windows.length; group++) {
                if (windows[group] != 0) {
                    end = Math.min(end, lastWhole(group, from, end, present));
                }
            }
        }
        return end;
    }

    /** As {@link #longest}, were all windows there. */
    int withoutWindow(int from, int most, Presence present) {
        if (!haveWhole()) {
            return most;
        }
        int end = from;
        while (end < most && hasWithoutWindow(present, end)) {
            end++;
        }
        return end;
    }

    /** Whether some layers see all keys. */
    private boolean haveWhole() {
        return windows[0] == 0;
    }

    /**
     * Whether what falls out of a group's window is worth keeping before {@link LikelyEnds} only. Where no layer sees all keys nobody would
     * know where texts begin to differ, so there it is cached like the rest.
     */
    boolean hasLikelyEnds(int group) {
        return haveWhole() && windows[group] != 0;
    }

    private boolean hasWithoutWindow(Presence present, int index) {
        for (int group = 0; group < windows.length && windows[group] == 0; group++) {
            if (!present.has(group, index)) {
                return false;
            }
        }
        return true;
    }

    /** The largest end up to {@code end} before which the group's window is there, as far as it is behind {@code from}. */
    private int lastWhole(int group, int from, int end, Presence present) {
        int index = end - 1;
        while (index >= Math.max(from, firstNeeded(group, end))) {
            if (!present.has(group, index)) {
                end = index;
            }
            index--;
        }
        return Math.max(from, end);
    }

    /** The first block whose tokens a group's query at {@code position}, or one after it, sees. */
    int firstSeen(int group, int position) {
        return windows[group] == 0 ? 0 : Math.max(0, position - windows[group] + 1) / blockSize;
    }
}
