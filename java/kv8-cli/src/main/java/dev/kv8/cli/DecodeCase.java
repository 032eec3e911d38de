package dev.kv8.cli;

import dev.kv8.Batch;
import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import dev.kv8.KvCache;
import dev.kv8.KvCacheConfig;
import dev.kv8.KvCacheDType;
import dev.kv8.KvScales;
import dev.kv8.Sequence;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;

/**
 * A step over a filled cache of one kind, of a decode or of a prompt's chunk: all sequences are equally long, all layers hold the
 * same random K and V, so that going through the layers meets cold memory.
 */
final class DecodeCase implements AutoCloseable {
    /**
     * What is measured.
     *
     * @param batch sequences
     * @param queries of each sequence, its last tokens
     * @param context keys of each, the queries' own included
     * @param layers that a pass goes through
     * @param queryType of q and of the output
     */
    record Shape(
            int batch,
            int queries,
            int context,
            int layers,
            int queryHeads,
            int kvHeads,
            int headSize,
            DType queryType) {
        int elementsOfToken() {
            return kvHeads * headSize;
        }

        int tokens() {
            return batch * queries;
        }
    }

    /** What K and V are before they are stored. */
    private interface Rows {
        void upload(DeviceMemory wide, int elements, Random random);
    }

    private static final int BLOCK_SIZE = 16;
    private static final int CHUNK = 512;

    private final Shape shape;
    private final KvCache cache;
    private final Batch batch;
    private final DeviceMemory queries;
    private final HeadRows q;
    private final DeviceMemory results;
    private final HeadRows out;

    DecodeCase(
            KvBackend backend, Shape shape, KvCacheDType dtype, KvScales.Granularity granularity, boolean subnormal) {
        this.shape = shape;
        int blocks = shape.batch() * ((shape.context() + BLOCK_SIZE - 1) / BLOCK_SIZE);
        cache = KvCache.create(
                backend,
                KvCacheConfig.builder()
                        .layers(shape.layers())
                        .kvHeads(shape.kvHeads())
                        .headSize(shape.headSize())
                        .dtype(dtype)
                        .scales(NormalValues.scales(shape.layers(), shape.kvHeads(), shape.headSize(), granularity))
                        .blockSize(BLOCK_SIZE)
                        .blocks(blocks)
                        .prefixCaching(false) // equal tokens, but every sequence reads blocks of its own
                        .build());
        batch = cache.batch();
        int rowElements = shape.tokens() * shape.queryHeads() * shape.headSize();
        queries = backend.allocate((long) rowElements * shape.queryType().bytes());
        results = backend.allocate(queries.bytes());
        q = HeadRows.of(queries, shape.queryType(), shape.queryHeads(), shape.headSize());
        out = HeadRows.of(results, shape.queryType(), shape.queryHeads(), shape.headSize());
        fill(backend, rowElements, (wide, elements, random) -> {
            if (subnormal) {
                NormalValues.uploadSubnormal(backend, wide, elements, shape.headSize(), dtype, granularity);
            } else {
                NormalValues.upload(backend, wide, elements, random);
            }
        });
    }

    private void fill(KvBackend backend, int queryElements, Rows stored) {
        int elements = Math.max(CHUNK, shape.tokens()) * shape.elementsOfToken();
        try (DeviceMemory wide = backend.allocate((long) Math.max(elements, queryElements) * Float.BYTES)) {
            Random random = new Random(8);
            NormalValues.upload(backend, wide, queryElements, random);
            backend.cast(wide, DType.FLOAT32, queries, shape.queryType(), queryElements, 1);
            stored.upload(wide, elements, random);
            HeadRows rows = HeadRows.of(wide, DType.FLOAT32, shape.kvHeads(), shape.headSize());
            List<Sequence> sequences = new ArrayList<>();
            for (int s = 0; s < shape.batch(); s++) {
                Sequence sequence = cache.open(new int[shape.context()]);
                sequences.add(sequence);
                while (sequence.pendingTokens() > shape.queries()) {
                    add(sequence, Math.min(CHUNK, sequence.pendingTokens() - shape.queries()));
                    write(rows);
                    batch.commit();
                }
            }
            for (Sequence sequence : sequences) {
                add(sequence, shape.queries());
            }
            write(rows);
            backend.synchronize();
        }
    }

    private void add(Sequence sequence, int tokens) {
        if (!batch.add(sequence, tokens)) {
            throw new IllegalStateException("A cache that was made for " + shape + " is full: " + cache.stats());
        }
    }

    private void write(HeadRows rows) {
        for (int layer = 0; layer < shape.layers(); layer++) {
            cache.write(layer, batch, rows, rows);
        }
    }

    /** Attention of the step in every layer, waited for. */
    void attend() {
        for (int layer = 0; layer < shape.layers(); layer++) {
            cache.attend(layer, batch, q, out);
        }
        cache.backend().synchronize();
    }

    /** Bytes of K, V and their scales by token that {@link #attend} has to read. */
    long bytes() {
        return Math.round(cache.config().bytesPerToken() * shape.batch() * shape.context());
    }

    @Override
    public void close() {
        batch.close();
        cache.close();
        queries.close();
        results.close();
    }
}
