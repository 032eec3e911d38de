package dev.kv8;

/**
 * Where other texts are likely to go on from a text. Where some layers see all keys, those with a window are of use for that only before
 * such an end: what falls out of a window elsewhere makes room first, because moving windows would fill the cache with it else. In blocks;
 * for the writer thread only.
 *
 * <p>Decision: these are the end of the prompt, which comes again with an answer behind it or is answered once more; the end that the text
 * was found up to itself; and the one that it would have been found up to, were the windows there, which shows where texts begin to
 * differ. The end of the whole text needs no memory: its window is what a sequence holds when it is closed. What a policy knows to be used
 * often is kept wherever it is.
 */
final class LikelyEnds {
    private int prompt;
    private int found;
    private int shared;

    /**
     * A text was looked for that had {@code from} blocks.
     *
     * @param foundEnd what it has now
     * @param sharedEnd what it would have, were the windows there
     * @param promptEnd what it could have had at most
     */
    void asked(int from, int foundEnd, int sharedEnd, int promptEnd) {
        found = foundEnd > from ? foundEnd : found;
        shared = sharedEnd > from ? sharedEnd : shared;
        prompt = promptEnd;
    }

    /** What is behind the first {@code blocks} will be other tokens. */
    void truncate(int blocks) {
        prompt = Math.min(prompt, blocks);
        found = Math.min(found, blocks);
        shared = Math.min(shared, blocks);
    }

    void copy(LikelyEnds other) {
        prompt = other.prompt;
        found = other.found;
        shared = other.shared;
    }

    /** Whether a group's block {@code index} is in the window before one of them. */
    boolean need(LayerGroups groups, int group, int index) {
        return isBefore(prompt, groups, group, index)
                || isBefore(found, groups, group, index)
                || isBefore(shared, groups, group, index);
    }

    /** Or before the end of one block less: the last one is of another text when what stood at its end is said otherwise. */
    private static boolean isBefore(int end, LayerGroups groups, int group, int index) {
        return index < end && index >= groups.firstNeeded(group, Math.max(0, end - 1));
    }
}
