package dev.kv8;

import java.lang.ref.Cleaner;

/**
 * Notes what was garbage-collected without close, once for each object, through {@link System.Logger} {@code dev.kv8}. A lost
 * sequence's blocks are given back (and not worth a note when its cache was closed); a lost cache's memory is only reported, because slices of it may be in use.
 */
final class Abandoned {
    private static final System.Logger LOG = System.getLogger("dev.kv8");
    private static final Cleaner CLEANER = Cleaner.create();

    private Abandoned() {}

    static Cleaner.Cleanable watchSequence(Sequence sequence, BlockLedger ledger, BlockTable table) {
        return CLEANER.register(sequence, () -> {
            if (table.close(ReleaseHint.KEEP)) {
                if (!ledger.isClosed()) {
                    LOG.log(
                            System.Logger.Level.WARNING,
                            "A Sequence was garbage-collected without close(); its blocks ("
                                    + table.held()
                                    + ") have been given back. Close sequences when they end.");
                }
                ledger.requestRelease(table);
            }
        });
    }

    static Cleaner.Cleanable watchPin(PinnedPrefix pin, BlockLedger ledger, BlockTable table) {
        return CLEANER.register(pin, () -> {
            if (table.close(ReleaseHint.KEEP)) {
                if (!ledger.isClosed()) {
                    LOG.log(
                            System.Logger.Level.WARNING,
                            "A PinnedPrefix was garbage-collected without close(); its blocks (" + table.size()
                                    + ") are no longer pinned. Keep it as long as the prefix is to stay.");
                }
                ledger.requestRelease(table);
            }
        });
    }

    static Cleaner.Cleanable watchCache(KvCache cache, BlockLedger ledger, String description) {
        return CLEANER.register(cache, () -> {
            if (ledger.close()) {
                LOG.log(
                        System.Logger.Level.WARNING,
                        "A KvCache was garbage-collected without close(); its memory is lost to the backend: "
                                + description);
            }
        });
    }
}
