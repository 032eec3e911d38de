package dev.kv8.llm;

import java.io.DataInput;
import java.io.DataOutput;
import java.io.IOException;
import java.util.Arrays;

/**
 * Magnitudes of many cells, one for each channel of each head of K or V in a layer, as counts by {@link
 * MagnitudeHistogram#bin bin}. Counts are whole numbers, so neither the order of values nor the way in which they were split
 * over several of these changes what {@link #merge} gives. Coarser granularities are sums of cells.
 *
 * <p>A cell takes 2.5 KiB: 160 MiB for a model of 32 layers with 8 KV heads of 128 channels. It holds up to 2^31 - 1 values.
 * For one thread.
 */
final class MagnitudeCounts {
    private static final int BINS = MagnitudeHistogram.BINS;
    private static final int MAGNITUDE = 0x7FFF_FFFF;
    private static final int INFINITY = 0x7F80_0000;

    private final int cells;
    /** {@code [cells][BINS]} */
    private final int[] counts;
    /** {@code [cells]} */
    private final int[] nans;
    /** {@code [cells]}; infinity where there was one. */
    private final float[] largest;

    MagnitudeCounts(int cells) {
        this.cells = cells;
        counts = new int[Math.multiplyExact(cells, BINS)];
        nans = new int[cells];
        largest = new float[cells];
    }

    /** Counts a value. An infinite one is counted too and becomes its cell's maximum, for the caller to find. */
    void add(int cell, float x) {
        int bits = Float.floatToRawIntBits(x) & MAGNITUDE;
        if (bits > INFINITY) {
            nans[cell]++;
            return;
        }
        counts[cell * BINS + MagnitudeHistogram.bin(bits)]++;
        largest[cell] = Math.max(largest[cell], Float.intBitsToFloat(bits));
    }

    /** The first cell with an infinite value, or -1. */
    int firstInfinite() {
        for (int cell = 0; cell < cells; cell++) {
            if (largest[cell] == Float.POSITIVE_INFINITY) {
                return cell;
            }
        }
        return -1;
    }

    /** Takes in what another one of the same size has counted. */
    void merge(MagnitudeCounts other) {
        if (other.cells != cells) {
            throw new IllegalArgumentException("Counts of " + other.cells + " cells don't merge into " + cells + ".");
        }
        for (int i = 0; i < counts.length; i++) {
            counts[i] = Math.addExact(counts[i], other.counts[i]);
        }
        for (int cell = 0; cell < cells; cell++) {
            nans[cell] = Math.addExact(nans[cell], other.nans[cell]);
            largest[cell] = Math.max(largest[cell], other.largest[cell]);
        }
    }

    /** The magnitudes of {@code count} cells from {@code first} on, together. */
    MagnitudeHistogram histogram(int first, int count) {
        MagnitudeHistogram histogram = new MagnitudeHistogram();
        for (int cell = first; cell < first + count; cell++) {
            histogram.add(counts, cell * BINS, nans[cell], largest[cell]);
        }
        return histogram;
    }

    void writeTo(DataOutput out) throws IOException {
        for (int cell = 0; cell < cells; cell++) {
            out.writeFloat(largest[cell]);
            out.writeInt(nans[cell]);
            for (int bin = 0; bin < BINS; bin++) {
                out.writeInt(counts[cell * BINS + bin]);
            }
        }
    }

    /** Replaces everything by what {@link #writeTo} wrote for as many cells. */
    void readFrom(DataInput in) throws IOException {
        for (int cell = 0; cell < cells; cell++) {
            largest[cell] = in.readFloat();
            nans[cell] = in.readInt();
            for (int bin = 0; bin < BINS; bin++) {
                counts[cell * BINS + bin] = in.readInt();
            }
        }
    }

    @Override
    public boolean equals(Object other) {
        return other instanceof MagnitudeCounts that
                && Arrays.equals(that.counts, counts)
                && Arrays.equals(that.nans, nans)
                && Arrays.equals(that.largest, largest);
    }

    @Override
    public int hashCode() {
        return 31 * Arrays.hashCode(counts) + Arrays.hashCode(largest);
    }
}
