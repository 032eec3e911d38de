package dev.kv8;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.function.Supplier;

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
        if (!config.groups().isOne()) {
            throw new IllegalStateException("Files have blocks with all layers, but this cache has "
                    + config.layerGroups()
                    + " groups of layers with blocks of their own: its sequences can't be saved or"
                    + " restored. Give KvCacheConfig.window (0 when a layer has none) instead of layerWindows.");
        }
        if (config.modelId().isEmpty()) {
            throw new IllegalStateException(
                    "This cache does not know its model, so a file could be restored under other"
                            + " weights. Give KvCacheConfig.modelId, a name or digest of the weights.");
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

    private SequenceHeader header(String salt, int tokens, int computed, int gone, int contentChecksum) {
        return SequenceHeader.of(config, scales.get(), salt, tokens, computed, gone, contentChecksum);
    }

    void save(BlockTable table, int[] tokens, int length, Path path) throws IOException {
        checkSupported();
        SequenceFile.write(
                path,
                checksum -> header(table.options().salt(), length, table.computed, table.gone(), checksum),
                tokens,
                length,
                table.size() - table.gone(),
                spaceForABlock(),
                (kept, target) -> {
                    int index = table.gone() + kept;
                    backend.download(pool, table.block(index) * config.blockBytes(), target);
                    int used = Math.min(config.blockSize(), table.computed - index * config.blockSize());
                    config.layout().clearBehind(target, used); // is somebody else's
                });
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
            header.check(path, header(options.salt(), 0, 0, 0, 0));
            file.verify();
            int[] tokens = file.tokens();
            BlockTable table = ledger.emptyTable(header.gone(), header.blocks(), options);
            try {
                file.blocks(
                        spaceForABlock(),
                        (kept, source) ->
                                backend.upload(source, pool, table.block(header.gone() + kept) * config.blockBytes()));
            } catch (IOException | RuntimeException e) {
                ledger.giveBack(table);
                throw e;
            }
            ledger.fill(table, tokens, header.computed());
            return new Restored(table, tokens);
        }
    }
}
