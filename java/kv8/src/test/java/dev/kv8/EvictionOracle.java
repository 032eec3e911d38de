package dev.kv8;

import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;

/** What an eviction policy should do, told with the collections of the JDK and no thought of speed. */
interface EvictionOracle {
    static EvictionOracle of(EvictionPolicyKind kind, int blocks) {
        return switch (kind) {
            case LRU -> new Lru();
            case ARC -> new Arc(blocks);
        };
    }

    void admit(int block, long key);

    void hit(int block);

    void release(int block);

    default int evict() {
        return evict(List.copyOf(idle()));
    }

    /** The one of {@code candidates}, in the order in which they became idle, that goes. */
    int evict(Collection<Integer> candidates);

    void forget(int block);

    /** Whether a cached block was of use more than once, as far as the policy looks at that. */
    boolean isUsedOften(int block);

    Set<Integer> idle();

    /** The block idle for longest is the first of a set that keeps the order of insertion. */
    final class Lru implements EvictionOracle {
        private final Set<Integer> idle = new LinkedHashSet<>();

        @Override
        public void admit(int block, long key) {}

        @Override
        public void hit(int block) {
            idle.remove(block);
        }

        @Override
        public void release(int block) {
            idle.add(block);
        }

        @Override
        public int evict(Collection<Integer> candidates) {
            int oldest = candidates.iterator().next();
            idle.remove(oldest);
            return oldest;
        }

        @Override
        public void forget(int block) {
            idle.remove(block);
        }

        @Override
        public boolean isUsedOften(int block) {
            return false;
        }

        @Override
        public Set<Integer> idle() {
            return idle;
        }
    }

    /** The paper's four lists: T1 and T2 of blocks in the order of their release, B1 and B2 of keys in that of eviction. */
    final class Arc implements EvictionOracle {
        final int blocks;
        final Set<Integer> t1 = new HashSet<>();
        final Set<Integer> t2 = new HashSet<>();
        final Ghosts b1;
        final Ghosts b2;
        final Map<Integer, Long> keys = new HashMap<>();
        private final Set<Integer> idle = new LinkedHashSet<>();
        double p;

        Arc(int blocks) {
            this.blocks = blocks;
            b1 = new Ghosts(NumberedList.ring(4 * blocks));
            b2 = new Ghosts(NumberedList.ring(4 * blocks));
        }

        @Override
        public void admit(int block, long key) {
            keys.put(block, key);
            if (b1.contains(key)) {
                p = Math.min(blocks, p + Math.max(1, (double) b2.size() / b1.size()));
                b1.remove(key);
                t2.add(block);
            } else if (b2.contains(key)) {
                p = Math.max(0, p - Math.max(1, (double) b1.size() / b2.size()));
                b2.remove(key);
                t2.add(block);
            } else {
                t1.add(block);
            }
        }

        @Override
        public void hit(int block) {
            idle.remove(block);
            t1.remove(block);
            t2.add(block);
        }

        @Override
        public void release(int block) {
            idle.add(block);
        }

        @Override
        public int evict(Collection<Integer> candidates) {
            List<Integer> once = candidates.stream().filter(t1::contains).toList();
            List<Integer> often = candidates.stream().filter(t2::contains).toList();
            boolean fromT1 = often.isEmpty() || (!once.isEmpty() && t1.size() > p);
            int block = (fromT1 ? once : often).get(0);
            long key = Objects.requireNonNull(keys.get(block));
            int l1 = t1.size() + b1.size();
            if (b1.size() + b2.size() == 4 * blocks) {
                (l1 > 5 * blocks / 2 ? b1 : b2).removeOldest();
            }
            b1.remove(key);
            b2.remove(key);
            (fromT1 ? b1 : b2).add(key);
            forget(block);
            return block;
        }

        @Override
        public void forget(int block) {
            idle.remove(block);
            t1.remove(block);
            t2.remove(block);
        }

        @Override
        public boolean isUsedOften(int block) {
            return t2.contains(block);
        }

        @Override
        public Set<Integer> idle() {
            return idle;
        }
    }

    /** Keys in the order of their eviction. One that {@code most} others followed is forgotten. */
    final class Ghosts {
        private final int most;
        private final Map<Long, Integer> numbers = new LinkedHashMap<>();
        private int next;

        Ghosts(int most) {
            this.most = most;
        }

        void add(long key) {
            remove(key);
            if (next - numbers.getOrDefault(oldest(), next) == most) {
                removeOldest();
            }
            numbers.put(key, next++);
        }

        private long oldest() {
            return numbers.isEmpty() ? 0 : numbers.keySet().iterator().next();
        }

        boolean contains(long key) {
            return numbers.containsKey(key);
        }

        void remove(long key) {
            numbers.remove(key);
        }

        void removeOldest() {
            remove(oldest());
        }

        int size() {
            return numbers.size();
        }
    }
}
