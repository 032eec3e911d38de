package dev.kv8;

import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The tiers of one cache, from its side: what is loaded and written, and when. All but {@link #stats} is for the writer thread,
 * inside the cache. {@link #poll} does what is due, for about a millisecond; everything else that takes time is done by the tiers'
 * threads.
 */
final class TierSet implements AutoCloseable {
    /** With the block that is under way when they are over, a poll takes no longer than a millisecond. */
    private static final long POLL_NANOS = 800_000;

    private static final long DEFAULT_STAGING = 64L << 20;
    private static final int MOST_FRAMES = 1 << 16;

    private final KvCacheConfig config;
    private final BlockLedger ledger;
    private final List<Tier> tiers;
    private final PoolCopies copies;
    private final PrefixLoads loads;
    private final SecondUses uses;
    private final FramePool writeFrames;
    private final MeasuredRate prefill = new MeasuredRate();
    private final WorkPace pace = new WorkPace(POLL_NANOS, System::nanoTime);
    private @Nullable BlockFrame form;
    private long formEpoch;

    private TierSet(
            KvBackend backend, KvCacheConfig config, DeviceMemory memory, BlockLedger ledger, Runnable onPlaced) {
        this.config = config;
        this.ledger = ledger;
        Tiers settings = config.tiers();
        int frameBytes = Math.toIntExact(BlockFrame.HEADER + config.blockBytes());
        ByteSize staging = settings.staging();
        long bytes = staging == null ? Math.max(DEFAULT_STAGING, 8L * frameBytes) : staging.bytes();
        int frames = (int) Math.min(MOST_FRAMES, bytes / 2 / frameBytes);
        StoredCodes codes = new StoredCodes(config.layout(), backend.info());
        // Each tier has its share in either direction: one that keeps all it gets holds nobody else up.
        int share = Math.max(1, frames / settings.stores().size());
        writeFrames = new FramePool(frames, frameBytes);
        tiers = settings.stores().stream()
                .map(store -> new Tier(
                        store,
                        codes,
                        new FramePool(share, frameBytes),
                        share,
                        settings.storeDeadline(),
                        config.blockSize()))
                .toList();
        copies = new PoolCopies(backend, memory, Math.toIntExact(config.blockBytes()), codes);
        loads = new PrefixLoads(ledger, tiers, copies, settings.loadDeadline().toNanos(), onPlaced);
        uses = new SecondUses(
                ledger.pool(),
                ledger.prefixes(),
                tiers,
                copies,
                writeFrames,
                settings.rememberedKeys(),
                settings.writtenOnFirstUse());
        ledger.prefixes().listen(uses);
    }

    /** Asks the stores whether they take the configuration's blocks, before anything is made for it. */
    static void prepare(KvCacheConfig config) {
        for (BlockStore store : config.tiers().stores()) {
            store.prepare(Math.toIntExact(BlockFrame.HEADER + config.blockBytes()));
        }
    }

    /**
     * Null when the configuration has no tiers.
     *
     * @param onPlaced is told of each block that the pool gets from a tier
     */
    static @Nullable TierSet create(
            KvBackend backend, KvCacheConfig config, DeviceMemory memory, BlockLedger ledger, Runnable onPlaced) {
        return config.tiers().isEmpty() ? null : new TierSet(backend, config, memory, ledger, onPlaced);
    }

    private BlockFrame form() {
        BlockFrame known = form;
        if (known == null || formEpoch != ledger.prefixes().epoch()) {
            known = new BlockFrame(
                    ledger.prefixes().keys().layout(),
                    config.blockSize(),
                    Math.toIntExact(config.blockBytes()),
                    config.layout().rowScaleBytesOfBlock());
            form = known;
            formEpoch = ledger.prefixes().epoch();
        }
        return known;
    }

    /** Asks the tiers for what a new sequence lacks. */
    void opened(Sequence sequence) {
        loads.begin(sequence, form(), prefillRate());
    }

    /** The sequence is to be computed now, as it is. */
    void leave(Sequence sequence) {
        loads.leave(sequence);
    }

    /** Other keys are made from now on. */
    void prefixesCleared() {
        uses.clear();
    }

    /** A batch of prompts was computed. */
    void computed(int tokens, long nanos) {
        prefill.measured(tokens, nanos);
    }

    private double prefillRate() {
        double given = config.tiers().prefillTokensPerSecond();
        return given > 0 ? given : prefill.perSecond();
    }

    /**
     * As {@link #poll}, but right after a call that had much to do it moves no block: for those of whom there are many in a step, the
     * sequences that wait.
     */
    void pollInTurn() {
        if (!pace.isRestTime()) {
            poll();
        } else if (!loads.isEmpty()) {
            loads.advance(0, form(), prefillRate(), uses);
        }
    }

    /** Does what is due; true while transfers are under way or noted. */
    boolean poll() {
        pace.begin();
        long share = loads.isEmpty() || uses.isEmpty() ? POLL_NANOS : POLL_NANOS / 2;
        if (!loads.isEmpty()) {
            loads.advance(share, form(), prefillRate(), uses);
        }
        if (!uses.isEmpty()) {
            uses.advance(share, form());
        }
        pace.end();
        loads.checkDeadlines();
        boolean busy = !loads.isEmpty() || !uses.isEmpty();
        for (int i = 0; i < tiers.size(); i++) {
            tiers.get(i).checkDeadlines();
            busy |= tiers.get(i).isWriting();
        }
        return busy;
    }

    /** Any thread. */
    List<TierStats> stats() {
        List<TierStats> all = new ArrayList<>();
        tiers.forEach(tier -> all.add(tier.stats()));
        return all;
    }

    /** Frames that are filled, under way, or in quarantine because a store has not completed them. Any thread. */
    int framesInUse() {
        return writeFrames.inUse()
                + tiers.stream().mapToInt(tier -> tier.loadFrames().inUse()).sum();
    }

    @Override
    public void close() {
        loads.close();
        tiers.forEach(Tier::close);
        copies.close();
    }
}
