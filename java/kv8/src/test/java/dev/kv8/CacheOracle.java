package dev.kv8;

import java.util.ArrayList;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Set;

/**
 * What the manager should do, as naively as it can be said: a block is an object, a sequence a list of them, who shares what is
 * found by looking at everybody, and reserving walks token by token.
 */
final class CacheOracle {
    /** A sequence: its tokens and, for those computed or scheduled, its blocks. */
    static final class Entry {
        final List<Integer> tokens = new ArrayList<>();
        List<Object> blocks = new ArrayList<>();
        int computed;
        int scheduled;
        boolean closed;
    }

    final int totalBlocks;
    final int blockSize;
    /** Sequences that hold blocks: open ones, and closed ones that are in a batch. */
    final List<Entry> entries = new ArrayList<>();

    long allocated;
    long copied;

    CacheOracle(int totalBlocks, int blockSize) {
        this.totalBlocks = totalBlocks;
        this.blockSize = blockSize;
    }

    Entry open(List<Integer> tokens) {
        Entry entry = new Entry();
        entry.tokens.addAll(tokens);
        entries.add(entry);
        return entry;
    }

    Entry fork(Entry from) {
        Entry entry = open(from.tokens);
        entry.computed = from.computed;
        entry.blocks.addAll(from.blocks);
        return entry;
    }

    boolean reserve(Entry entry, int count) {
        List<Object> next = new ArrayList<>(entry.blocks);
        int created = 0;
        int copies = 0;
        for (int position = entry.computed; position < entry.computed + count; position++) {
            int index = position / blockSize;
            if (index == next.size()) {
                next.add(new Object());
                created++;
            } else if (holders(next.get(index)) > 1) {
                next.set(index, new Object());
                created++;
                copies++;
            }
        }
        if (created > freeBlocks()) {
            return false;
        }
        entry.blocks = next;
        entry.scheduled = count;
        allocated += created;
        copied += copies;
        return true;
    }

    void settle(Entry entry, boolean computed) {
        if (computed) {
            entry.computed += entry.scheduled;
        }
        entry.scheduled = 0;
        dropUnneededBlocks(entry);
        if (entry.closed) {
            entries.remove(entry);
        }
    }

    void truncate(Entry entry, int length) {
        entry.tokens.subList(length, entry.tokens.size()).clear();
        entry.computed = Math.min(entry.computed, length);
        dropUnneededBlocks(entry);
    }

    void close(Entry entry) {
        entry.closed = true;
        if (entry.scheduled == 0) {
            entries.remove(entry);
        }
    }

    private void dropUnneededBlocks(Entry entry) {
        while ((entry.blocks.size() - 1) * blockSize >= entry.computed) {
            entry.blocks.remove(entry.blocks.size() - 1);
        }
    }

    int holders(Object block) {
        int count = 0;
        for (Entry entry : entries) {
            for (Object held : entry.blocks) {
                if (held == block) {
                    count++;
                }
            }
        }
        return count;
    }

    int freeBlocks() {
        Set<Object> held = Collections.newSetFromMap(new IdentityHashMap<>());
        entries.forEach(entry -> held.addAll(entry.blocks));
        return totalBlocks - held.size();
    }

    CacheStats stats(long poolBytes) {
        long stored = entries.stream().mapToLong(entry -> entry.computed).sum();
        int free = freeBlocks();
        return new CacheStats(
                totalBlocks, free, totalBlocks - free, stored, entries.size(), allocated, copied, 0, poolBytes);
    }
}
