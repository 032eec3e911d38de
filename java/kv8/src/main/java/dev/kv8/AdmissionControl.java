package dev.kv8;

/**
 * Whether the blocks of one more prompt can be had. Decision: a prompt is let in when all its blocks are there at once, although it is
 * computed in parts, because prompts that are let in sooner take the blocks from each other half way. Of a text that is longer than the
 * pool, which only a window makes possible, that is as many as the pool has. For the writer thread only.
 */
final class AdmissionControl {
    private final BlockPool pool;
    private final PrefixCache prefixes;
    private final int blockSize;
    private final int watermark;
    /** Blocks that a text of any length needs at most, when it is computed a block at a time. */
    private final long longest;

    AdmissionControl(KvCacheConfig config, BlockPool pool, PrefixCache prefixes) {
        this.pool = pool;
        this.prefixes = prefixes;
        this.blockSize = config.blockSize();
        this.watermark = config.watermarkBlocks();
        // The window of a query may begin at the end of a block, and the step's last query may begin another.
        this.longest = config.window() == 0 ? Long.MAX_VALUE : blocksFor(config.window() + 2L * (blockSize - 1));
    }

    /** See {@link KvCache#canAdmit}; beside others the watermark stays free. */
    Admission ask(int[] tokens, int maxNewTokens, SequenceOptions options, boolean besideOthers) {
        long most = Math.min(longest, blocksFor((long) tokens.length + maxNewTokens));
        if (most > pool.total()) {
            return new Admission(Admission.Answer.NEVER, (int) Math.min(Integer.MAX_VALUE, most - pool.total()));
        }
        int kept = besideOthers ? watermark : 0;
        long whole = blocksFor(tokens.length);
        int needed = whole > pool.total() ? pool.total() - kept : (int) whole;
        int missing = needed - (pool.available() - kept);
        if (missing > 0) { // only then is it worth looking for what is shared
            missing -= prefixes.heldPrefix(tokens, tokens.length, options.salt());
        }
        return missing <= 0 ? Admission.NOW : new Admission(Admission.Answer.LATER, missing);
    }

    private long blocksFor(long tokens) {
        return tokens == 0 ? 0 : (tokens - 1) / blockSize + 1;
    }
}
