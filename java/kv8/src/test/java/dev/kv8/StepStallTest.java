package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledIfSystemProperty;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * What a slow tier costs those that do not need it: a sequence that decodes one token in each step, while others wait for their
 * prefixes. Always tested: no wrong byte, no block or frame lost. -Dkv8.measure=true takes more steps and prints how long
 * the manager held each of them up (no kernels; by the clock, and by the thread's processor time, which other programs do not
 * disturb), and how far {@link Sequence#awaitLoaded} went beyond the deadline, beside the same steps and waits without a tier, and
 * beside what happened meanwhile to a thread that has nothing to do with either ({@link IdleThread}).
 */
class StepStallTest {
    private static final boolean MEASURED = Boolean.getBoolean("kv8.measure");
    private static final int STEPS = MEASURED ? 20_000 : 500;
    private static final int WAITS = MEASURED ? 200 : 10;
    private static final int WAITING = Integer.getInteger("kv8.waiting", 4);
    private static final int BLOCKS = 40;
    private static final int PROMPTS = 40;
    private static final int PROMPT_TOKENS = 41;
    private static final long DEADLINE_NANOS = TimeUnit.MILLISECONDS.toNanos(20);
    private static final ThreadMXBean THREADS = ManagementFactory.getThreadMXBean();

    private final Times clock = new Times(STEPS);
    private final Times processor = new Times(STEPS);
    private int next;

    @ParameterizedTest
    @EnumSource
    void aSlowTierHoldsUpNoStepAndLosesNothing(SlowStore.Pace pace) throws Exception {
        SlowStore store = new SlowStore(3 * DEADLINE_NANOS);
        Tiers tiers = Tiers.builder()
                .add(store)
                .loadDeadline(Duration.ofNanos(DEADLINE_NANOS))
                .writtenOnFirstUse(true)
                .prefillTokensPerSecond(1)
                .build();
        try (TieredCache test = new TieredCache(BLOCKS, tiers)) {
            for (int i = 0; i < PROMPTS; i++) {
                test.serve(TieredCache.prompt(i, PROMPT_TOKENS));
                test.settle();
            }
            long before = test.tier(0).loaded();
            store.becomes(pace);
            measure(pace.toString(), test);
            Times beyond = new Times(WAITS);
            for (int i = 0; i < WAITS; i++) {
                try (Sequence sequence = test.cache.open(prompt())) {
                    long start = System.nanoTime();
                    sequence.awaitLoaded();
                    long waited = System.nanoTime() - start;
                    beyond.add(Math.max(0, waited - DEADLINE_NANOS));
                    test.compute(sequence);
                    test.checkContent(sequence);
                }
            }
            if (MEASURED) {
                System.out.println(pace + ": awaitLoaded() beyond the deadline: " + beyond);
            }
            assertThat(test.tier(0).loaded()).as("blocks that came in time").isGreaterThan(before);
            if (pace != SlowStore.Pace.PROMPT) {
                assertThat(test.tier(0).late()).as("loads that did not").isPositive();
            }
            store.close();
            TieredCache.await(() -> !test.cache.poll() && test.cache.framesInUse() == 0);
            assertThat(test.cache.stats().openSequences()).isZero();
            assertThat(test.cache.stats().freeBlocks())
                    .as("blocks that nobody holds")
                    .isEqualTo(BLOCKS);
            test.cache.ledger().pool().checkInvariants();
        }
    }

    /** A measurement, not a test: the same steps without a tier, and waits that only sleep, for what the machine adds by itself. */
    @Test
    @EnabledIfSystemProperty(named = "kv8.measure", matches = "true")
    void measureWithoutATier() {
        try (TieredCache test = new TieredCache(BLOCKS, Tiers.NONE)) {
            measure("no tier", test);
            Times beyond = new Times(WAITS);
            for (int i = 0; i < WAITS; i++) {
                long start = System.nanoTime();
                while (System.nanoTime() - start < DEADLINE_NANOS) {
                    LockSupport.parkNanos(100_000);
                }
                beyond.add(System.nanoTime() - start - DEADLINE_NANOS);
            }
            System.out.println("no tier: sleeping beyond the deadline: " + beyond);
        }
    }

    /** A measurement, not a test: a round in which each of many sequences, whose blocks have arrived, is asked whether it is loading. */
    @Test
    @EnabledIfSystemProperty(named = "kv8.measure", matches = "true")
    void measureARoundOfManyThatWait() throws InterruptedException {
        int sequences = 32;
        HostBlockStore host = HostBlockStore.create(ByteSize.mib(64));
        Tiers tiers = Tiers.builder()
                .add(host)
                .writtenOnFirstUse(true)
                .loadDeadline(Duration.ofSeconds(10))
                .prefillTokensPerSecond(1)
                .build();
        Times rounds = new Times(100_000);
        Times loads = new Times(50);
        for (int repetition = 0; repetition < 50; repetition++) {
            try (TieredCache test = new TieredCache(2000, tiers)) {
                List<Sequence> waiting = new ArrayList<>();
                for (int i = 0; i < sequences; i++) {
                    if (repetition == 0) {
                        test.serve(TieredCache.prompt(i, 481));
                        test.settle();
                        test.cache.clearPrefixes("");
                    }
                    waiting.add(test.cache.open(TieredCache.prompt(i, 481)));
                }
                Thread.sleep(30); // so that they have arrived
                long begin = System.nanoTime();
                while (!waiting.isEmpty()) {
                    long start = THREADS.getCurrentThreadCpuTime();
                    waiting.removeIf(sequence -> {
                        boolean over = !sequence.isLoading();
                        if (over) {
                            sequence.close();
                        }
                        return over;
                    });
                    rounds.add(THREADS.getCurrentThreadCpuTime() - start);
                    LockSupport.parkNanos(500_000); // a step's kernels
                }
                loads.add(System.nanoTime() - begin);
            }
        }
        host.close();
        System.out.println(sequences + " wait: a round of isLoading(), by the processor: " + rounds
                + "; until none waits, by the clock: " + loads);
    }

    private void measure(String what, TieredCache test) {
        if (!MEASURED) {
            run(test);
            return;
        }
        try (IdleThread idle = IdleThread.start()) {
            run(test);
            System.out.println(what + ": a step, by the clock: " + clock + "; by the processor: " + processor);
            System.out.println(what + ", meanwhile " + idle.seen());
        }
    }

    private int[] prompt() {
        return TieredCache.prompt(next++ % PROMPTS, PROMPT_TOKENS);
    }

    private void run(TieredCache test) {
        List<Sequence> waiting = new ArrayList<>();
        Sequence decoding = test.cache.open(new int[] {1_000_000});
        for (int step = 0; step < STEPS; step++) {
            if (decoding.length() > 8 * TieredCache.BLOCK_SIZE) {
                decoding.close();
                decoding = test.cache.open(new int[] {1_000_000 + step});
            }
            List<Sequence> ready = new ArrayList<>();
            long start = System.nanoTime();
            long busy = THREADS.getCurrentThreadCpuTime();
            if (waiting.size() < WAITING) {
                waiting.add(test.cache.open(prompt()));
            }
            for (Sequence sequence : waiting) {
                if (!sequence.isLoading()) {
                    ready.add(sequence);
                }
            }
            decoding.append(step);
            test.add(decoding);
            busy -= THREADS.getCurrentThreadCpuTime();
            start -= System.nanoTime();
            test.write(decoding);
            start += System.nanoTime();
            busy += THREADS.getCurrentThreadCpuTime();
            test.commit();
            processor.add(THREADS.getCurrentThreadCpuTime() - busy);
            clock.add(System.nanoTime() - start);
            for (Sequence sequence : ready) {
                waiting.remove(sequence);
                test.compute(sequence);
                test.checkContent(sequence);
                sequence.close();
            }
        }
        waiting.forEach(Sequence::close);
        decoding.close();
    }
}
