package dev.kv8;

import java.util.Arrays;

/**
 * Moves the content of a beam's sequences to those that go on from it. Decision: the first child of a parent takes its content
 * over by exchange, so only further children count references up, and the content that nobody goes on from lies, at the end,
 * where these children are: it is released as they replace it. For the writer thread only.
 */
final class BeamOrder {
    /** By parent: the slot whose sequence takes its content over, or -1 when nobody goes on from it. */
    private int[] heirs = {};

    /** By parent: the slot where its content is now. */
    private int[] places = {};

    /** By slot: the parent whose content is there now. */
    private int[] contents = {};

    /** Refuses what can't be reordered, before anything changes. */
    void check(KvCache cache, Sequence[] beam, int[] parents) {
        if (beam.length != parents.length) {
            throw new IllegalArgumentException("The beam has " + beam.length + " sequences and " + parents.length
                    + " parents; give one parent for each sequence.");
        }
        for (int i = 0; i < beam.length; i++) {
            if (parents[i] < 0 || parents[i] >= beam.length) {
                throw new IllegalArgumentException("The parent of sequence " + i + " is " + parents[i]
                        + "; this beam has sequences 0 to " + (beam.length - 1) + ".");
            }
            if (beam[i].cache != cache) {
                throw new IllegalArgumentException("Sequence " + i + " of the beam belongs to another cache.");
            }
            if (!beam[i].options().salt().equals(beam[0].options().salt())) {
                throw new IllegalArgumentException(
                        "Sequence " + i + " of the beam has another salt than sequence 0; content"
                                + " of one salt can't go to another. Open all sequences of a beam with the same salt.");
            }
            beam[i].checkOpen();
            beam[i].checkNotScheduled("reordered");
            for (int j = 0; j < i; j++) {
                if (beam[j] == beam[i]) {
                    throw new IllegalArgumentException("Sequences " + j + " and " + i
                            + " of the beam are the same one; fork it to have it twice.");
                }
            }
        }
    }

    /** What {@link #check} has let through. */
    void apply(Sequence[] beam, int[] parents) {
        chooseHeirs(parents);
        for (Sequence sequence : beam) {
            sequence.stopLoading();
            sequence.stopLeading();
        }
        for (int slot = 0; slot < parents.length; slot++) {
            int parent = parents[slot];
            if (heirs[parent] == slot && places[parent] != slot) {
                exchange(beam, slot, places[parent]);
            }
        }
        for (int slot = 0; slot < parents.length; slot++) {
            int heir = heirs[parents[slot]];
            if (heir != slot) {
                beam[slot].become(beam[heir]);
            }
        }
    }

    private void chooseHeirs(int[] parents) {
        int width = parents.length;
        if (heirs.length < width) {
            heirs = new int[width];
            places = new int[width];
            contents = new int[width];
        }
        Arrays.fill(heirs, 0, width, -1);
        for (int slot = 0; slot < width; slot++) {
            places[slot] = slot;
            contents[slot] = slot;
            if (heirs[parents[slot]] < 0 || parents[slot] == slot) { // who stays where it is need not move
                heirs[parents[slot]] = slot;
            }
        }
    }

    private void exchange(Sequence[] beam, int slot, int other) {
        beam[slot].swap(beam[other]);
        int moved = contents[slot];
        contents[slot] = contents[other];
        contents[other] = moved;
        places[contents[slot]] = slot;
        places[moved] = other;
    }
}
