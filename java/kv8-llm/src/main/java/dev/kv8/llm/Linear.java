package dev.kv8.llm;

import dev.kv8.DType;
import dev.kv8.HeadRows;

/** A linear layer, {@code y = W x (+ b)} by row, computed where {@link Products} has chosen. For one thread. */
sealed interface Linear extends AutoCloseable permits OneDnnLinear, DeviceLinear {
    /** What the rows of a layer's result are made of. */
    enum Result {
        /** Of the type of its input: what goes into another kernel. */
        AS_INPUT,
        /** Of float32: what is added to the residual stream, and logits. */
        FLOAT32
    }

    /** The type that its input rows must have. */
    DType inputType();

    /**
     * {@code y[row] = W x[row]} for {@code rows} rows without gaps, in the order of the backend's kernels.
     *
     * @param x one head of {@link #inputType}, with room for {@link Products#room} rows
     * @param y one head of the type that the layer was made for; room like {@code x}
     */
    void apply(HeadRows x, HeadRows y, int rows);

    @Override
    void close();
}
