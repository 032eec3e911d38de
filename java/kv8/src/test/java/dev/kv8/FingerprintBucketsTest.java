package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class FingerprintBucketsTest {
    private static final int PLACES = 8;

    /** What is remembered: by list, the oldest first, as many numbers behind each other as additions to the list. */
    private static final class Oracle {
        record Remembered(long fingerprint, int number) {}

        final List<List<Remembered>> lists = List.of(new ArrayList<>(), new ArrayList<>());
        final int[] next = new int[2];

        int listOf(long fingerprint) {
            for (int list = 0; list < 2; list++) {
                if (lists.get(list).stream().anyMatch(it -> it.fingerprint() == fingerprint)) {
                    return list;
                }
            }
            return -1;
        }

        void remove(long fingerprint) {
            lists.forEach(list -> list.removeIf(it -> it.fingerprint() == fingerprint));
        }

        void add(long fingerprint, int list) {
            remove(fingerprint);
            lists.get(list).add(new Remembered(fingerprint, next[list]++));
        }

        int size() {
            return lists.get(0).size() + lists.get(1).size();
        }

        /** Those that the most additions to their own list followed: one, or one of each list. */
        List<Long> oldest() {
            List<Long> oldest = new ArrayList<>();
            int most = -1;
            for (int list = 0; list < 2; list++) {
                if (!lists.get(list).isEmpty()) {
                    int age = next[list] - lists.get(list).get(0).number();
                    if (age > most) {
                        oldest.clear();
                    }
                    if (age >= most) {
                        oldest.add(lists.get(list).get(0).fingerprint());
                        most = age;
                    }
                }
            }
            return oldest;
        }
    }

    /**
     * Random additions, removals and ends of the oldest. In one bucket the ninth pushes out the oldest; where buckets are many nothing is pushed out.
     * Numbers pass 2^32 on the way.
     */
    @ParameterizedTest(name = "{0} buckets, {1} fingerprints, {2} remembered")
    @CsvSource({"1, 6, 6", "1, 12, 12", "1, 60, 20", "4096, 40, 20", "4096, 200, 50", "4096, 200, 200"})
    void itRemembersWhatListsDo(int buckets, int fingerprints, int capacity) {
        long seed = System.nanoTime();
        Random random = new Random(seed);
        NumberedList[] lists = {new NumberedList(1000, -3000), new NumberedList(1000, -1000)};
        FingerprintBuckets table = new FingerprintBuckets(lists[0], lists[1], buckets);
        Oracle oracle = new Oracle();
        int pushedOut = 0;
        for (int i = 0; i < 20_000; i++) {
            String at = "seed " + seed + ", operation " + i;
            long fingerprint = fingerprint(random, fingerprints);
            int entry = table.find(fingerprint);
            assertThat(entry == FingerprintBuckets.ABSENT ? -1 : table.list(entry))
                    .as(at)
                    .isEqualTo(oracle.listOf(fingerprint));
            int choice = random.nextInt(10);
            int list = random.nextInt(3) / 2;
            if (choice < 6) {
                if (oracle.size() == capacity) {
                    int old = oracle.lists.get(list).isEmpty() ? 1 - list : list;
                    lists[old].removeOldest();
                    oracle.lists.get(old).remove(0);
                }
                List<Long> oldest = oracle.oldest();
                boolean full = buckets == 1 && oracle.size() == PLACES && oracle.listOf(fingerprint) < 0;
                table.add(fingerprint, list);
                if (full) {
                    oldest.removeIf(it -> table.find(it) != FingerprintBuckets.ABSENT);
                    assertThat(oldest).as(at).hasSize(1);
                    oracle.remove(oldest.get(0));
                    pushedOut++;
                }
                oracle.add(fingerprint, list);
            } else if (choice < 8 && entry != FingerprintBuckets.ABSENT) {
                table.remove(entry);
                oracle.remove(fingerprint);
            } else if (choice == 8 && !oracle.lists.get(list).isEmpty()) {
                lists[list].removeOldest();
                oracle.lists.get(list).remove(0);
            }
            assertThat(lists[0].size()).as(at).isEqualTo(oracle.lists.get(0).size());
            assertThat(lists[1].size()).as(at).isEqualTo(oracle.lists.get(1).size());
            if (i % 100 == 0) {
                table.checkInvariants();
                oracle.lists.forEach(of -> of.forEach(
                        it -> assertThat(table.find(it.fingerprint())).isNotNegative()));
            }
        }
        if (buckets == 1 && fingerprints > PLACES) {
            assertThat(pushedOut).as("seed %d", seed).isGreaterThan(100);
        }
    }

    /** They differ in few bits, low ones or high ones. */
    private static long fingerprint(Random random, int fingerprints) {
        int small = random.nextInt(fingerprints);
        return (small & 1) == 0 ? small : (long) small << 40;
    }

    @Test
    void aMarkChangesAndTheAgeDoesNot() {
        NumberedList list = new NumberedList(10);
        FingerprintBuckets table = new FingerprintBuckets(10, list, list);
        for (long fingerprint = 1; fingerprint <= 3; fingerprint++) {
            table.add(fingerprint, 0);
        }
        table.mark(table.find(1), 1);
        assertThat(table.list(table.find(1))).isEqualTo(1);
        assertThat(table.list(table.find(2))).isZero();
        table.mark(table.find(1), 0);
        assertThat(table.list(table.find(1))).isZero();
        table.checkInvariants();
        list.removeOldest();
        assertThat(table.find(1)).isEqualTo(FingerprintBuckets.ABSENT);
        assertThat(table.find(2)).isNotNegative();
    }

    @Test
    void fingerprintsOfOneBucketAndEqualBitsAreOne() {
        NumberedList list = new NumberedList(10);
        FingerprintBuckets table = new FingerprintBuckets(list, list, 1);
        long one = 12345;
        long other = one ^ 1L << 63; // the product differs in its highest bit alone, which no entry keeps
        table.add(one, 0);
        assertThat(table.find(other)).isEqualTo(table.find(one));
        table.add(other, 1);
        assertThat(list.size()).isEqualTo(1);
        assertThat(table.list(table.find(one))).isEqualTo(1);
    }

    /** What its documentation says: one of 900 pushes another one out. */
    @Test
    void fewArePushedOut() {
        int capacity = 50_000;
        NumberedList list = new NumberedList(capacity);
        FingerprintBuckets table = new FingerprintBuckets(capacity, list, list);
        Random random = new Random(5);
        int pushedOut = 0;
        for (int i = 0; i < 8 * capacity; i++) {
            if (list.size() == capacity) {
                list.removeOldest();
            }
            int before = list.size();
            table.add(random.nextLong(), 0);
            pushedOut += i >= 4 * capacity && list.size() == before ? 1 : 0;
        }
        table.checkInvariants();
        assertThat(pushedOut).isBetween(4 * capacity / 2000, 4 * capacity / 700);
    }
}
