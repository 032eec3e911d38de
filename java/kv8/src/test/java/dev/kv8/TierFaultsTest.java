package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.management.ManagementFactory;
import java.lang.management.ThreadInfo;
import java.lang.management.ThreadMXBean;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * A cache above a tier that delays, loses, cuts, flips, repeats, writes late and mixes up: never a wrong byte, never a block or frame
 * that stays away, by a hundred thousand operations. -Dkv8.seed=N repeats a seed, -Dkv8.operations=N sets how many operations a run has. -Dkv8.measure=true prints what the
 * faults cost the calling thread beyond what it may wait: by the clock, where a busy machine's other programs are most of it, and
 * by what the thread itself did, its processor time and the time that it was blocked by others of this process; and what the same
 * machine and JVM do meanwhile to a thread without a cache.
 */
class TierFaultsTest {
    private static final int OPERATIONS = Integer.getInteger("kv8.operations", 17_000);
    private static final long DEADLINE_MILLIS = 5;
    private static final int BLOCKS = 40;
    private static final boolean MEASURED = Boolean.getBoolean("kv8.measure");
    private static final ThreadMXBean THREADS = ManagementFactory.getThreadMXBean();

    static Stream<Arguments> runs() {
        Long given = Long.getLong("kv8.seed");
        Stream<Long> seeds = given != null ? Stream.of(given) : Stream.of(1L, System.nanoTime());
        return seeds.flatMap(seed ->
                Stream.of(Arguments.of(seed, true, 0), Arguments.of(seed, false, 0), Arguments.of(seed, false, 20)));
    }

    /** @param window of the second layer, which then has blocks of its own; 0 for none */
    @ParameterizedTest(name = "seed {0}, host accessible {1}, window {2}")
    @MethodSource("runs")
    void aFaultyTierCostsTimeAndNothingElse(long seed, boolean hostAccessible, int window) {
        Random random = new Random(seed);
        FaultyStore store = new FaultyStore(seed, 0.002);
        Tiers tiers = Tiers.builder()
                .add(store)
                .loadDeadline(Duration.ofMillis(DEADLINE_MILLIS))
                .storeDeadline(Duration.ofMillis(10))
                .prefillTokensPerSecond(1) // so that fetching is always worth it
                .build();
        clock.clear();
        own.clear();
        THREADS.setThreadContentionMonitoringEnabled(MEASURED);
        List<Sequence> open = new ArrayList<>();
        int blocks = window == 0 ? BLOCKS : 2 * BLOCKS;
        KvCacheConfig config =
                TieredCache.config(blocks, tiers).layerWindows(0, window).build();
        try (TieredCache test = new TieredCache(hostAccessible, config);
                IdleThread idle = MEASURED ? IdleThread.start() : IdleThread.NONE) {
            // A tier that fails three times in a row, as on a stalled machine, is left alone for a second: then it goes
            // on.
            long end = System.nanoTime() + 20_000_000_000L;
            for (int operation = 0;
                    operation < OPERATIONS || (test.tier(0).loaded() <= OPERATIONS / 10 && System.nanoTime() < end);
                    operation++) {
                try {
                    operate(test, open, random);
                    if (operation % 16 == 0) {
                        test.cache.ledger().pool().checkInvariants();
                    }
                } catch (AssertionError | RuntimeException e) {
                    throw new AssertionError("seed " + seed + ", operation " + operation + ": " + e.getMessage(), e);
                }
            }
            TierStats stats = test.tier(0);
            if (MEASURED) {
                System.out.println(
                        OPERATIONS + " operations, seed " + seed + ", beyond what a call may wait: by the clock "
                                + most(clock) + ", of its own " + most(own) + "; " + stats + store.made());
                System.out.println("meanwhile " + idle.seen());
            }
            open.forEach(Sequence::close);
            store.close();
            TieredCache.await(() -> !test.cache.poll() && test.cache.framesInUse() == 0);
            assertThat(stats.loaded())
                    .as("blocks loaded: %s %s", stats, store.made())
                    .isGreaterThan(OPERATIONS / 10);
            assertThat(store.made()).as("kinds of faults").containsOnlyKeys(FaultyStore.Fault.values());
            // Single ones may have hit loads that nobody waited for any more.
            assertThat(stats.damaged() + stats.incompatible() + stats.failed() + stats.late())
                    .isPositive();
            TieredCache.await( // more where a transfer throws, whose delayed block is completed afterwards
                    () -> test.tier(0).repeated() >= store.made().getOrDefault(FaultyStore.Fault.TWICE, 0));
            assertThat(test.cache.stats().freeBlocks()).as("leaked blocks").isEqualTo(blocks);
            assertThat(test.cache.stats().storedTokens()).isZero();
            test.cache.ledger().pool().checkInvariants();
        }
    }

    /** Nanoseconds of calls, beyond the deadline for those that wait. */
    private final List<Long> clock = new ArrayList<>();

    /** Of these calls the nanoseconds, at most, in which the thread ran beyond that, or was kept from it by a lock. */
    private final List<Long> own = new ArrayList<>();

    private void timed(long allowedMillis, Runnable call) {
        if (!MEASURED) {
            call.run();
            return;
        }
        long blocked = blockedMillis();
        long start = System.nanoTime();
        long busy = THREADS.getCurrentThreadCpuTime();
        call.run();
        long did = THREADS.getCurrentThreadCpuTime() - busy + (blockedMillis() - blocked) * 1_000_000;
        long beyond = System.nanoTime() - start - allowedMillis * 1_000_000;
        own.add(Math.max(0, Math.min(did, beyond))); // what a call does while it may still wait costs nobody anything
        clock.add(beyond);
    }

    private static long blockedMillis() {
        ThreadInfo thread = THREADS.getThreadInfo(Thread.currentThread().getId());
        return thread.getBlockedTime();
    }

    private static String most(List<Long> nanos) {
        List<Long> sorted = nanos.stream().sorted().toList();
        int size = sorted.size();
        return "median " + sorted.get(size / 2) / 1000 + ", 99.9 % " + sorted.get((int) (size * 0.999)) / 1000
                + ", most " + sorted.get(size - 1) / 1000 + " us of " + size;
    }

    private void operate(TieredCache test, List<Sequence> open, Random random) {
        int choice = random.nextInt(100);
        if (open.size() < 4 && choice < 50) {
            open.add(test.cache.open(TieredCache.prompt(random.nextInt(20), 2 + random.nextInt(50))));
        } else if (choice < 90 && !open.isEmpty()) {
            Sequence sequence = open.get(random.nextInt(open.size()));
            if (random.nextInt(8) == 0) {
                timed(DEADLINE_MILLIS, sequence::awaitLoaded);
            }
            timed(0, sequence::isLoading);
            if (!sequence.isLoading() || random.nextInt(50) == 0) {
                test.compute(sequence);
                test.checkContent(sequence);
                open.remove(sequence);
                sequence.close();
            }
        } else if (choice < 94 && !open.isEmpty()) {
            open.remove(random.nextInt(open.size())).close(); // in the middle of its load, maybe
        } else if (choice == 94) {
            test.cache.clearPrefixes(random.nextBoolean() ? "" : "other");
        } else {
            timed(0, test.cache::poll);
        }
    }
}
