package dev.kv8;

import java.util.ArrayList;
import java.util.Collections;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * What the manager should do, as naively as it can be said: a block is an object, a sequence a list of them, who shares what is
 * found by looking at everybody, a prefix is known by the list of its tokens, and reserving walks token by token.
 */
final class CacheOracle {
    /** A sequence: its tokens and, for those computed or scheduled, its blocks. */
    static final class Entry {
        final List<Integer> tokens = new ArrayList<>();
        final List<Object> blocks = new ArrayList<>();
        int computed;
        int scheduled;
        int epoch;
        boolean closed;
    }

    final int totalBlocks;
    final int blockSize;
    /** Sequences that hold blocks: open ones, and closed ones that are in a batch. */
    final List<Entry> entries = new ArrayList<>();

    /** Full blocks by all tokens up to their end. */
    final Map<List<Integer>, Object> registered = new HashMap<>();

    /** Registered ones that nobody holds; the one given up longest ago is the first. */
    final List<Object> cached = new ArrayList<>();

    int epoch;
    long allocated;
    long copied;
    long evicted;
    long queried;
    long hit;

    CacheOracle(int totalBlocks, int blockSize) {
        this.totalBlocks = totalBlocks;
        this.blockSize = blockSize;
    }

    Entry open(List<Integer> tokens) {
        Entry entry = add(tokens);
        while (entry.computed + blockSize < tokens.size()) {
            Object block = registered.get(tokens.subList(0, entry.computed + blockSize));
            if (block == null) {
                break;
            }
            cached.remove(block);
            entry.blocks.add(block);
            entry.computed += blockSize;
        }
        queried += tokens.size();
        hit += entry.computed;
        return entry;
    }

    private Entry add(List<Integer> tokens) {
        Entry entry = new Entry();
        entry.tokens.addAll(tokens);
        entry.epoch = epoch;
        entries.add(entry);
        return entry;
    }

    Entry fork(Entry from) {
        Entry entry = add(from.tokens);
        entry.computed = from.computed;
        entry.epoch = from.epoch;
        entry.blocks.addAll(from.blocks);
        return entry;
    }

    boolean reserve(Entry entry, int count) {
        int created = 0;
        boolean copy = false;
        for (int position = entry.computed; position < entry.computed + count; position++) {
            int index = position / blockSize;
            if (index >= entry.blocks.size() + created) {
                created++;
            } else if (index < entry.blocks.size()) {
                Object begun = entry.blocks.get(index);
                copy = holders(begun) > 1 || registered.containsValue(begun);
            }
        }
        Object begun = copy ? entry.blocks.get(entry.computed / blockSize) : null;
        if (created + (copy ? 1 : 0) > freeBlocks()) {
            if (begun == null || created > freeBlocks() || holders(begun) > 1) {
                return false;
            }
            registered.values().remove(begun);
            begun = null;
        }
        if (begun != null) {
            entry.blocks.set(entry.computed / blockSize, take());
            giveUp(begun);
            copied++;
        }
        for (int i = 0; i < created; i++) {
            entry.blocks.add(take());
        }
        if (entry.computed == 0) {
            entry.epoch = epoch;
        }
        entry.scheduled = count;
        return true;
    }

    private Object take() {
        allocated++;
        if (freeBlocks() == cached.size()) {
            evicted++;
            registered.values().remove(cached.remove(0));
        }
        return new Object();
    }

    private void giveUp(Object block) {
        if (holders(block) == 0 && registered.containsValue(block)) {
            cached.add(block);
        }
    }

    void settle(Entry entry, boolean computed) {
        if (computed) {
            int before = entry.computed;
            entry.computed += entry.scheduled;
            for (int i = before / blockSize; i < entry.computed / blockSize && entry.epoch == epoch; i++) {
                List<Integer> prefix = List.copyOf(entry.tokens.subList(0, (i + 1) * blockSize));
                registered.putIfAbsent(prefix, entry.blocks.get(i));
            }
        }
        entry.scheduled = 0;
        dropBlocksBehind(entry, entry.computed);
        if (entry.closed) {
            remove(entry);
        }
    }

    void truncate(Entry entry, int length) {
        entry.tokens.subList(length, entry.tokens.size()).clear();
        entry.computed = Math.min(entry.computed, length);
        dropBlocksBehind(entry, entry.computed);
    }

    void close(Entry entry) {
        entry.closed = true;
        if (entry.scheduled == 0) {
            remove(entry);
        }
    }

    private void remove(Entry entry) {
        dropBlocksBehind(entry, 0);
        entries.remove(entry);
    }

    private void dropBlocksBehind(Entry entry, int tokens) {
        while ((entry.blocks.size() - 1) * blockSize >= tokens) {
            giveUp(entry.blocks.remove(entry.blocks.size() - 1));
        }
    }

    void clearPrefixes() {
        epoch++;
        registered.clear();
        cached.clear();
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

    /** Those nobody holds, cached or not. */
    int freeBlocks() {
        Set<Object> held = Collections.newSetFromMap(new IdentityHashMap<>());
        entries.forEach(entry -> held.addAll(entry.blocks));
        return totalBlocks - held.size();
    }

    CacheStats stats(long poolBytes) {
        long stored = entries.stream().mapToLong(entry -> entry.computed).sum();
        int free = freeBlocks();
        return new CacheStats(
                totalBlocks,
                free,
                cached.size(),
                totalBlocks - free,
                stored,
                entries.size(),
                allocated,
                copied,
                evicted,
                queried,
                hit,
                0,
                0,
                poolBytes);
    }
}
