package dev.kv8;

/**
 * Whether the blocks of one more prompt can be had. Decision: a prompt is let in when all its blocks are there at once, although it is
 * computed in parts, because prompts that are let in sooner take the blocks from each other half way. Of a text that is longer than the
 * pool, which only a window makes possible, that is as many as the pool has. Where only some groups of layers have a window, they are
 * counted with the window and a step as long. For the writer thread only.
 */
final class AdmissionControl {
    private final BlockPool pool;
    private final PrefixCache prefixes;
    private final int watermark;
    private final LayerGroups groups;

    AdmissionControl(KvCacheConfig config, BlockPool pool, PrefixCache prefixes) {
        this.pool = pool;
        this.prefixes = prefixes;
        this.watermark = config.watermarkBlocks();
        this.groups = config.groups();
    }

    /** See {@link KvCache#canAdmit}; beside others the watermark stays free. */
    Admission ask(int[] tokens, int maxNewTokens, SequenceOptions options, boolean besideOthers) {
        long most = groups.blocks((long) tokens.length + maxNewTokens);
        if (most > pool.total()) {
            return new Admission(Admission.Answer.NEVER, (int) Math.min(Integer.MAX_VALUE, most - pool.total()));
        }
        int kept = besideOthers ? watermark : 0;
        long whole = atOnce(tokens.length);
        int needed = whole > pool.total() ? pool.total() - kept : (int) whole;
        int missing = needed - (pool.available() - kept);
        if (missing > 0) { // only then is it worth looking for what is shared
            missing -= prefixes.heldPrefix(tokens, tokens.length, options);
        }
        return missing <= 0 ? Admission.NOW : new Admission(Admission.Answer.LATER, missing);
    }

    private long atOnce(int tokens) {
        long blocks = 0;
        for (int group = 0; group < groups.count(); group++) {
            blocks += groups.blocks(group, tokens, groups.isOne() ? tokens : groups.window(group));
        }
        return blocks;
    }
}
