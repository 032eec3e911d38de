package dev.kv8.llm;

import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import java.nio.ByteBuffer;

/**
 * Draws tokens on the device. The random number of a token is a hash of its request's seed and its place in the text, so
 * what is drawn does not depend on what else is in a batch or on how often a request was put back.
 */
final class Sampler implements AutoCloseable {
    private static final int PARAMS_BYTES = 16;

    private final KvBackend backend;
    private final DeviceMemory hostParams;
    private final DeviceMemory params;
    private final ByteBuffer paramsView;
    private final DeviceMemory ids;
    private final DeviceMemory hostIds;
    private final ByteBuffer idsView;

    Sampler(KvBackend backend, int capacity) {
        this.backend = backend;
        hostParams = backend.allocateHost((long) capacity * PARAMS_BYTES);
        paramsView = backend.hostView(hostParams, 0, capacity * PARAMS_BYTES);
        params = backend.allocate(hostParams.bytes());
        ids = backend.allocate((long) capacity * Integer.BYTES);
        hostIds = backend.allocateHost(ids.bytes());
        idsView = backend.hostView(hostIds, 0, capacity * Integer.BYTES);
    }

    /** Sets how row {@code row} is drawn. A share of probability too small for a float keeps one token, as the smallest float does. */
    void set(int row, SamplingParams sampling, long seed, int position) {
        int at = row * PARAMS_BYTES;
        paramsView.putFloat(at, (float) sampling.temperature());
        paramsView.putFloat(at + 4, Math.max(Float.MIN_NORMAL, (float) sampling.topP()));
        paramsView.putInt(at + 8, sampling.topK());
        paramsView.putFloat(at + 12, uniform(seed, position));
    }

    /** Draws the tokens of the first {@code rows} rows, and waits; {@link #token} returns them. */
    void draw(HeadRows logits, int rows) {
        backend.copy(hostParams, 0, params, 0, (long) rows * PARAMS_BYTES);
        backend.sample(logits, params, ids, rows);
        backend.copy(ids, 0, hostIds, 0, (long) rows * Integer.BYTES);
        backend.synchronize();
    }

    int token(int row) {
        return idsView.getInt(row * Integer.BYTES);
    }

    /** SplitMix64 at the place {@code position} of the stream that {@code seed} begins: 24 bits of [0, 1). */
    static float uniform(long seed, int position) {
        long z = mix(seed) + 0x9E3779B97F4A7C15L * (position + 1L);
        return (mix(z) >>> 40) * 0x1p-24f;
    }

    /** The seed of a prompt's sample {@code index}; the first one has the prompt's own. */
    static long seedOf(long seed, int index) {
        return index == 0 ? seed : mix(seed + 0xD1B54A32D192ED03L * index);
    }

    private static long mix(long value) {
        long z = (value ^ (value >>> 30)) * 0xBF58476D1CE4E5B9L;
        z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
        return z ^ (z >>> 31);
    }

    @Override
    public void close() {
        hostParams.close();
        params.close();
        ids.close();
        hostIds.close();
    }
}
