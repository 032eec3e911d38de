package dev.kv8.natives;

import dev.kv8.RopeTable;

/** Rotary embedding in plain Java, rounded step by step as {@code kv8.h} says. */
final class RopeAngles {
    private final int rotarySize;
    private final float[] table;

    RopeAngles(int positions, int rotarySize) {
        this.rotarySize = rotarySize;
        this.table = new float[positions * rotarySize];
        int half = rotarySize / 2;
        for (int position = 0; position < positions; position++) {
            for (int i = 0; i < half; i++) {
                double angle = position * Math.pow(10_000, -2.0 * i / rotarySize);
                table[position * rotarySize + i] = (float) Math.cos(angle);
                table[position * rotarySize + half + i] = (float) Math.sin(angle);
            }
        }
    }

    float[] table() {
        return table;
    }

    /** Rotates x [tokens][heads][width] in place. */
    void rotate(float[] x, int[] positions, int heads, int width, RopeTable.Style style) {
        int half = rotarySize / 2;
        for (int row = 0; row < positions.length * heads; row++) {
            int angles = positions[row / heads] * rotarySize;
            for (int i = 0; i < half; i++) {
                int first = row * width + (style == RopeTable.Style.HALF ? i : 2 * i);
                int second = row * width + (style == RopeTable.Style.HALF ? i + half : 2 * i + 1);
                float cos = table[angles + i];
                float sin = table[angles + half + i];
                float rotated = x[first] * cos - x[second] * sin;
                x[second] = x[second] * cos + x[first] * sin;
                x[first] = rotated;
            }
        }
    }
}
