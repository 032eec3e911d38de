package dev.kv8.cli;

import dev.kv8.Batch;
import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import dev.kv8.KvCache;
import dev.kv8.KvCacheConfig;
import dev.kv8.KvCacheDType;
import dev.kv8.KvScales.Granularity;
import dev.kv8.RopeTable;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Random;
import org.jspecify.annotations.Nullable;

/** A step that writes the K and V of some tokens of one sequence, layer by layer, into a cache of one kind. */
final class WriteCase implements AutoCloseable {
    /**
     * What is measured.
     *
     * @param rows type of K and V before they are stored
     * @param rope whether K is rotated, in all its width
     */
    record Shape(int tokens, int layers, int kvHeads, int headSize, DType rows, boolean rope) {
        long elements() {
            return (long) tokens * kvHeads * headSize;
        }
    }

    private static final int BLOCK_SIZE = 16;

    private final KvCache cache;
    private final Batch batch;
    private final Shape shape;
    private final DeviceMemory values;
    private final HeadRows rows;
    private final @Nullable RopeTable rope;

    WriteCase(KvBackend backend, Shape shape, KvCacheDType dtype, Granularity granularity) {
        this.shape = shape;
        cache = KvCache.create(
                backend,
                KvCacheConfig.builder()
                        .layers(shape.layers())
                        .kvHeads(shape.kvHeads())
                        .headSize(shape.headSize())
                        .dtype(dtype)
                        .scales(NormalValues.scales(shape.layers(), shape.kvHeads(), shape.headSize(), granularity))
                        .blockSize(BLOCK_SIZE)
                        .blocks(slots(shape.tokens()) / BLOCK_SIZE)
                        .prefixCaching(false)
                        .build());
        batch = cache.batch();
        values = backend.allocate(shape.elements() * shape.rows().bytes());
        rows = HeadRows.of(values, shape.rows(), shape.kvHeads(), shape.headSize());
        Random random = new Random(8);
        try (DeviceMemory wide = backend.allocate(shape.elements() * Float.BYTES)) {
            NormalValues.upload(backend, wide, shape.elements(), random);
            backend.cast(wide, DType.FLOAT32, values, shape.rows(), shape.elements(), 1);
            backend.synchronize();
        }
        rope = shape.rope() ? table(backend, shape, random) : null;
        if (!batch.add(cache.open(new int[shape.tokens()]), shape.tokens())) {
            throw new IllegalStateException("A cache that was made for " + shape + " is full: " + cache.stats());
        }
    }

    /** Of a layer's cache that holds so many tokens: whole blocks. */
    static int slots(int tokens) {
        return (tokens + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
    }

    /**
     * Turns by random angles. They must be turns: K stays as large as it is then, and larger values would saturate, which a static
     * scale's write does the long way.
     */
    private static RopeTable table(KvBackend backend, Shape shape, Random random) {
        int half = shape.headSize() / 2;
        ByteBuffer rows = ByteBuffer.allocateDirect(shape.tokens() * shape.headSize() * Float.BYTES)
                .order(ByteOrder.nativeOrder());
        for (int token = 0; token < shape.tokens(); token++) {
            int row = token * shape.headSize() * Float.BYTES;
            for (int i = 0; i < half; i++) {
                double angle = random.nextDouble() * 2 * Math.PI;
                rows.putFloat(row + i * Float.BYTES, (float) Math.cos(angle));
                rows.putFloat(row + (half + i) * Float.BYTES, (float) Math.sin(angle));
            }
        }
        DeviceMemory table = backend.allocate(rows.capacity());
        backend.upload(rows, table, 0);
        return new RopeTable(table, shape.headSize(), RopeTable.Style.HALF);
    }

    /** Writes every layer, waited for. */
    void write() {
        for (int layer = 0; layer < shape.layers(); layer++) {
            if (rope == null) {
                cache.write(layer, batch, rows, rows);
            } else {
                cache.write(layer, batch, rows, rows, rope);
            }
        }
        cache.backend().synchronize();
    }

    /** Bytes of rows that {@link #write} reads, K's and V's, and of the cache that it writes. */
    long bytes() {
        return 2 * shape.elements() * shape.rows().bytes() * shape.layers()
                + Math.round(cache.config().bytesPerToken() * shape.tokens());
    }

    @Override
    public void close() {
        batch.close();
        cache.close();
        values.close();
        if (rope != null) {
            rope.values().close();
        }
    }
}
