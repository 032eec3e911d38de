package dev.kv8;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.function.Supplier;
import java.util.stream.IntStream;

/**
 * Brings a sequence's blocks from the pool to a file and back. Decision: a file is read twice when it is restored, first to see
 * that it is whole and then into blocks, so a damaged one evicts nothing. For the writer thread, inside the ledger.
 */
final class SequenceStorage {
    private final KvBackend backend;
    private final KvCacheConfig config;
    private final DeviceMemory pool;
    private final Supplier<KvScales> scales;
    private final BlockLedger ledger;

    /** {@code scales} gives those in force. */
    SequenceStorage(
            KvBackend backend, KvCacheConfig config, DeviceMemory pool, Supplier<KvScales> scales, BlockLedger ledger) {
        this.backend = backend;
        this.config = config;
        this.pool = pool;
        this.scales = scales;
        this.ledger = ledger;
    }

    private void checkSupported() {
        if (config.modelId().isEmpty()) {
            throw new IllegalStateException(
                    "This cache does not know its model, so a file could be restored under other"
                            + " weights. Give KvCacheConfig.modelId, a name or digest of the weights.");
        }
        if (config.blockBytes() > Integer.MAX_VALUE) {
            throw new IllegalStateException("A block of this cache has " + config.blockBytes()
                    + " bytes, and files take those of up to " + Integer.MAX_VALUE + ". Give a smaller blockSize.");
        }
        for (DType dtype : config.layout().dtypes()) {
            DType stored = StoredFormat.of(dtype, backend.info());
            if (stored != dtype) {
                throw new IllegalStateException("This device stores " + stored + " instead of " + dtype
                        + ", but files have " + dtype + " only: sequences can't be saved or restored on "
                        + backend.info().name() + ".");
            }
        }
    }

    private ByteBuffer spaceForABlock() {
        return ByteBuffer.allocateDirect(Math.toIntExact(config.blockBytes())).order(ByteOrder.nativeOrder());
    }

    private SequenceHeader header(String salt, int tokens, int computed, int[] gone, int contentChecksum) {
        return SequenceHeader.of(
                config,
                scales.get(),
                ledger.prefixes().keys().weights(),
                salt,
                tokens,
                computed,
                gone,
                contentChecksum);
    }

    void save(BlockTable table, int[] tokens, int length, Path path) throws IOException {
        checkSupported();
        if (table.computed > 0 && table.epoch != ledger.prefixes().epoch()) {
            throw new IllegalStateException("Of this sequence " + table.computed + " tokens were computed before"
                    + " clearPrefixes, so a file could be restored under weights that did not give them. Save it before"
                    + " weights change, or truncate it to 0 and compute it again.");
        }
        int[] places = places(table);
        SequenceFile.write(
                path,
                checksum -> header(table.options().salt(), length, table.computed, table.goneByGroup(), checksum),
                tokens,
                length,
                places.length,
                spaceForABlock(),
                (kept, target) -> {
                    int place = places[kept];
                    backend.download(pool, table.blocks()[place] * config.blockBytes(), target);
                    int begin = place / table.groups() * config.blockSize();
                    int used = Math.min(config.blockSize(), table.computed - begin);
                    config.layout().clearBehind(target, used, place % table.groups()); // is somebody else's
                });
    }

    /** Where {@link BlockTable#blocks} has those that are not gone, in the order that files have: by token, then by group. */
    private static int[] places(BlockTable table) {
        return IntStream.range(0, table.size() * table.groups())
                .filter(place -> place / table.groups() >= table.gone(place % table.groups()))
                .toArray();
    }

    /** What a file's sequence is made of. */
    static final class Restored {
        final BlockTable table;
        final int[] tokens;

        Restored(BlockTable table, int[] tokens) {
            this.table = table;
            this.tokens = tokens;
        }
    }

    /** Nothing has changed when it throws, but that cached blocks may have made room when the file changed under its reader. */
    Restored restore(Path path, SequenceOptions options) throws IOException {
        checkSupported();
        try (SequenceFile file = SequenceFile.open(path)) {
            SequenceHeader header = file.header();
            header.check(path, header(options.salt(), 0, 0, new int[config.layerGroups()], 0));
            file.verify();
            int[] tokens = file.tokens();
            BlockTable table = ledger.emptyTable(header.gone(), header.blocksOfGroup(), header.blocks(), options);
            int[] places = places(table);
            try {
                file.blocks(
                        spaceForABlock(),
                        (kept, source) ->
                                backend.upload(source, pool, table.blocks()[places[kept]] * config.blockBytes()));
            } catch (IOException | RuntimeException e) {
                ledger.giveBack(table);
                throw e;
            }
            ledger.fill(table, tokens, header.computed());
            return new Restored(table, tokens);
        }
    }
}
