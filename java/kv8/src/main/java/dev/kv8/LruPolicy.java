package dev.kv8;

/** Evicts the block that has been idle for longest. */
final class LruPolicy implements EvictionPolicy {
    private static final int IDLE = 0;

    private final IndexedLists lists;
    private final boolean[] cached;

    LruPolicy(int blocks) {
        lists = new IndexedLists(blocks, 1);
        cached = new boolean[blocks];
    }

    @Override
    public void admit(int block, long fingerprint) {
        if (cached[block]) {
            throw PolicyMisuse.admittedTwice(block);
        }
        cached[block] = true;
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
        cached[block] = false;
        return block;
    }

    @Override
    public void forget(int block) {
        hit(block);
        cached[block] = false;
    }

    @Override
    public int idle() {
        return lists.size(IDLE);
    }

    @Override
    public int readEvictions(ReadAhead ahead, int most) {
        int[] blocks = ahead.blocks;
        int count = lists.front(IDLE, blocks, 0, most);
        long sum = 0;
        for (int i = 0; i < count; i++) {
            sum += cached[blocks[i]] ? 1 : 0;
        }
        ahead.add(sum);
        return count;
    }

    @Override
    public long readAdmission(int block, long fingerprint) {
        return cached[block] ? 1 : 0;
    }

    @Override
    public long readUses(int[] blocks, int count) {
        return lists.read(blocks, count);
    }

    private boolean isIdle(int block) {
        return lists.listOf(block) == IDLE;
    }

    private void requireCached(int block) {
        if (!cached[block]) {
            throw PolicyMisuse.notCached(block);
        }
    }

    @Override
    public void checkInvariants() {
        lists.checkInvariants();
        for (int block = 0; block < cached.length; block++) {
            if (isIdle(block) && !cached[block]) {
                throw new IllegalStateException("Block " + block + " is idle but not cached.");
            }
        }
    }
}
