package dev.kv8;

/** Evicts the block that has been idle for longest. */
final class LruPolicy implements EvictionPolicy {
    private static final int IDLE = 0;

    private static final int UNCACHED = 0;
    private static final int CACHED = 1;

    /** A block's note says whether it is cached. */
    private final IndexedLists lists;

    private final int blocks;

    LruPolicy(int blocks) {
        lists = new IndexedLists(blocks, 1);
        this.blocks = blocks;
    }

    @Override
    public void admit(int block) {
        if (isCached(block)) {
            throw PolicyMisuse.admittedTwice(block);
        }
        lists.setNote(block, CACHED);
    }

    @Override
    public void hit(int block) {
        requireCached(block);
        if (isIdle(block)) {
            lists.remove(block);
        }
    }

    @Override
    public void hold(int block) {
        hit(block);
    }

    @Override
    public void release(int block) {
        requireCached(block);
        if (isIdle(block)) {
            throw PolicyMisuse.releasedTwice(block);
        }
        lists.append(IDLE, block);
    }

    @Override
    public int evict() {
        if (idle() == 0) {
            throw PolicyMisuse.nothingIdle();
        }
        int block = lists.first(IDLE);
        lists.remove(block);
        lists.setNote(block, UNCACHED);
        return block;
    }

    @Override
    public void forget(int block) {
        hit(block);
        lists.setNote(block, UNCACHED);
    }

    @Override
    public boolean isUsedOften(int block) {
        return false;
    }

    @Override
    public int idle() {
        return lists.size(IDLE);
    }

    @Override
    public int readEvictions(ReadAhead ahead, int most) {
        return lists.front(IDLE, ahead.blocks, 0, most);
    }

    @Override
    public long readAdmission(int block, long fingerprint) {
        return lists.note(block);
    }

    @Override
    public long readUses(int[] some, int count) {
        return lists.read(some, count);
    }

    private boolean isIdle(int block) {
        return lists.listOf(block) == IDLE;
    }

    private boolean isCached(int block) {
        return lists.note(block) == CACHED;
    }

    private void requireCached(int block) {
        if (!isCached(block)) {
            throw PolicyMisuse.notCached(block);
        }
    }

    @Override
    public void checkInvariants() {
        lists.checkInvariants();
        for (int block = 0; block < blocks; block++) {
            if (isIdle(block) && !isCached(block)) {
                throw new IllegalStateException("Block " + block + " is idle but not cached.");
            }
        }
    }
}
