package dev.kv8.llm;

import dev.kv8.KvBackend;

/**
 * Where a model's matrix products are computed: by oneDNN on the CPU backend, by the device's own library ({@link
 * KvBackend#matmul}) on any other. For one thread.
 */
sealed interface Products extends AutoCloseable permits OneDnn, DeviceProducts {
    /** Chooses for a backend. oneDNN's classes are loaded for the CPU only, so elsewhere its jars need not be there. */
    static Products on(KvBackend backend) {
        return backend.info().backend().equals("cpu") ? new OneDnn(backend) : new DeviceProducts(backend);
    }

    /** Rows that memory for {@code rows} rows of products must have room for; what is behind {@code rows} is computed too. */
    int room(int rows);

    /**
     * A layer of these weights, which it takes over: closing it frees them, and so does a failure of this.
     *
     * @throws dev.kv8.DeviceException when a product of this shape is computed wrongly here
     */
    Linear linear(LinearWeights weights, Linear.Result result);

    @Override
    void close();
}
