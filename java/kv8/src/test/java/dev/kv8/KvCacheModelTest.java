package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.kv8.CacheUnderTest.Away;
import dev.kv8.CacheUnderTest.Saved;
import dev.kv8.CacheUnderTest.Step;
import dev.kv8.CacheUnderTest.Tracked;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * A hundred thousand random operations on caches that are often full, against {@link CacheOracle}, with all invariants checked
 * after each and the content of what a sequence takes over. Half of the caches look for keys by 8 bits of their hash only, which
 * must change nothing. Half evict by LRU, half by ARC; and half have windows, of all layers or of one. A failure names the seed, the operation's number and what was done last; -Dkv8.seed=N repeats a seed,
 * -Dkv8.operations=N sets how many for each run, -Dkv8.exhaustive=true makes it ten million in all.
 */
class KvCacheModelTest {
    private static final int OPERATIONS =
            Integer.getInteger("kv8.operations", Boolean.getBoolean("kv8.exhaustive") ? 625_000 : 6_250);

    /** A shorter run meets some situations never. */
    private static final int ENOUGH = 5000;

    @TempDir
    Path folder;

    /** Runs of these are known to meet every situation often; a run of a fresh seed may meet one never. */
    private static final List<Long> COVERING_SEEDS = List.of(1L, 2L, 3L);

    static Stream<Arguments> runs() {
        Long given = Long.getLong("kv8.seed");
        Stream<Long> seeds =
                given != null ? Stream.of(given) : Stream.concat(COVERING_SEEDS.stream(), Stream.of(System.nanoTime()));
        return seeds.flatMap(seed -> shapes(seed).map(shape -> Arguments.of(seed, shape)));
    }

    /** What a run's cache is like: where both layers have a window, where one has, which has blocks of its own then. */
    private enum Layers {
        WHOLE(0, 0),
        WINDOW(5, 5),
        GROUPS(0, 5);

        private final int first;
        private final int second;

        Layers(int first, int second) {
            this.first = first;
            this.second = second;
        }
    }

    private record Shape(
            boolean hostAccessible, int hashBits, EvictionPolicyKind eviction, boolean partialReuse, Layers layers) {
        CacheUnderTest cache() {
            return new CacheUnderTest(hostAccessible, hashBits, eviction, partialReuse, layers.first, layers.second);
        }
    }

    /** Of each property half have either, over the covering seeds. */
    private static Stream<Shape> shapes(long seed) {
        boolean odd = (seed & 1) == 1;
        EvictionPolicyKind one = odd ? EvictionPolicyKind.LRU : EvictionPolicyKind.ARC;
        EvictionPolicyKind other = odd ? EvictionPolicyKind.ARC : EvictionPolicyKind.LRU;
        return Stream.of(
                new Shape(true, 32, one, odd, Layers.WHOLE),
                new Shape(false, 8, other, true, Layers.WHOLE),
                new Shape(false, 32, one, true, Layers.WINDOW),
                new Shape(true, 8, other, true, Layers.GROUPS));
    }

    @ParameterizedTest(name = "seed {0}, {1}")
    @MethodSource("runs")
    void theCacheDoesWhatTheOracleDoes(long seed, Shape shape) {
        CacheUnderTest test = shape.cache();
        RandomDriver driver = new RandomDriver(test, new Random(seed), folder);
        ModelRun.of("seed " + seed + ", " + shape, OPERATIONS, driver);
        if (OPERATIONS >= ENOUGH && COVERING_SEEDS.contains(seed)) {
            checkCoverage(driver, seed, shape);
        }
        for (Step step : driver.steps) {
            test.settle(step, false);
        }
        test.close();
        CacheStats end = test.cache.stats();
        assertThat(end.freeBlocks()).isEqualTo(end.totalBlocks());
        assertThat(end.storedTokens()).isZero();
        assertThat(end.openSequences()).isZero();
        assertThat(test.backend.liveAllocations()).as("device memory left").isZero();
    }

    private static void checkCoverage(RandomDriver driver, long seed, Shape shape) {
        CacheUnderTest test = driver.test;
        int often = OPERATIONS / 200;
        assertThat(driver.refusals).as("adds without room, seed %d", seed).isGreaterThan(often / 4);
        assertThat(test.cache.stats().copiedBlocks())
                .as("copies, seed %d", seed)
                .isGreaterThan(often);
        assertThat(test.cache.stats().prefixHitTokens())
                .as("tokens taken over, seed %d", seed)
                .isGreaterThan((long) often * CacheUnderTest.BLOCK_SIZE / 2);
        assertThat(test.cache.stats().evictedBlocks())
                .as("evictions, seed %d", seed)
                .isGreaterThan(often / 2);
        if (shape.partialReuse() && shape.layers() != Layers.GROUPS) {
            assertThat(test.cache.stats().prefixPartialTokens())
                    .as("tokens copied, seed %d", seed)
                    .isGreaterThan(often / 4);
        }
        assertThat(driver.pinned).as("pins, seed %d", seed).isGreaterThan(often / 5);
        assertThat(driver.caughtUp).as("catching up with others, seed %d", seed).isGreaterThanOrEqualTo(often / 20);
        assertThat(driver.reordered).as("beams, seed %d", seed).isGreaterThan(often);
        assertThat(driver.restored).as("files, seed %d", seed).isGreaterThan(often / 20);
        assertThat(driver.swaps).as("swaps, seed %d", seed).isGreaterThan(often / 5);
    }

    private static final class RandomDriver implements ModelRun.Driver {
        final CacheUnderTest test;
        final Random random;
        final List<Step> steps = new ArrayList<>();
        /** Tokens of sequences that were computed lately; some may still be cached. */
        private final List<List<Integer>> lately = new ArrayList<>();

        String last = "nothing";
        int refusals;
        int pinned;
        int swaps;
        int caughtUp;
        int restored;
        int reordered;
        int scaleChanges;

        private final Path folder;
        private int files;

        RandomDriver(CacheUnderTest test, Random random, Path folder) {
            this.folder = folder;
            this.test = test;
            this.random = random;
            for (int i = 0; i < 2; i++) {
                steps.add(new Step(test.cache.batch(), new ArrayList<>()));
            }
        }

        @Override
        public String last() {
            return last;
        }

        @Override
        public void operate() throws IOException {
            if (random.nextInt(4) == 0) {
                test.pass(random.nextInt(16));
            }
            int choice = random.nextInt(100);
            if (test.tracked.isEmpty() || (choice < 14 && test.tracked.size() < 12)) {
                last = "open";
                test.open(options(), prompt(), random.nextInt(3) == 0 ? random.nextInt(200) : 0);
            } else if (choice < 25) {
                append(any());
            } else if (choice < 29) {
                catchUp(anyThatMayFindSome());
            } else if (choice < 31) {
                reorder();
            } else if (choice < 54) {
                add(anyStep(), any());
            } else if (choice < 69) {
                step(anyStep());
            } else if (choice < 70) {
                last = "clear";
                test.settle(anyStep(), false);
            } else if (choice < 73) {
                pin();
            } else if (choice < 81) {
                fork(any());
            } else if (choice < 86) {
                truncate(any());
            } else if (choice < 87) {
                pass();
            } else if (choice < 95) {
                close(any());
            } else if (choice < 97) {
                swap();
            } else if (choice < 98 && random.nextInt(4) != 0) {
                file();
            } else if (choice < 98) {
                replaceBatch(random.nextInt(steps.size()));
            } else if (random.nextBoolean()) {
                last = "clearPrefixes";
                test.clearPrefixes();
            } else {
                setScales();
            }
        }

        private void pass() {
            long ticks = random.nextInt(3) == 0 ? random.nextInt(2000) : random.nextInt(40);
            last = "passing of " + ticks + " ticks";
            test.pass(ticks);
        }

        /** Most sequences are usual ones, so that those of other classes have what to stand out from. */
        private SequenceOptions options() {
            SequenceOptions.Builder options = SequenceOptions.builder();
            if (random.nextInt(3) == 0) {
                options.priority(any(CachePriority.values()));
            }
            if (random.nextInt(4) == 0) {
                options.timeLimit(Duration.ofNanos((1L + random.nextInt(random.nextBoolean() ? 30 : 300)) << 20));
            }
            if (random.nextInt(8) == 0) {
                options.salt("other");
            }
            return options.build();
        }

        /** Two to four of those that go together, or now and then do not. */
        private void reorder() {
            Tracked first = any();
            List<Tracked> beam = new ArrayList<>(test.tracked);
            if (random.nextInt(8) != 0) {
                beam.removeIf(one -> one.entry().closed
                        || one.entry().scheduled > 0
                        || !one.entry()
                                .options
                                .salt()
                                .equals(first.entry().options.salt()));
            }
            Collections.shuffle(beam, random);
            beam = beam.subList(0, Math.min(beam.size(), 2 + random.nextInt(3)));
            List<Tracked> chosen = beam;
            int[] parents =
                    beam.stream().mapToInt(one -> random.nextInt(chosen.size())).toArray();
            last = "reorder from " + Arrays.toString(parents);
            Sequence[] sequences = beam.stream().map(Tracked::sequence).toArray(Sequence[]::new);
            if (beam.stream().map(one -> one.entry().options.salt()).distinct().count() > 1) {
                assertThatThrownBy(() -> test.cache.reorder(sequences, parents)).isInstanceOf(RuntimeException.class);
            } else if (beam.stream().anyMatch(one -> one.entry().closed || one.entry().scheduled > 0)) {
                refused(() -> test.cache.reorder(sequences, parents), "");
            } else {
                test.reorder(beam, parents);
                reordered += beam.size() > 1 ? 1 : 0;
            }
        }

        private void swap() {
            if (!test.away.isEmpty() && random.nextBoolean()) {
                last = "swapIn";
                Away one = test.away.get(random.nextInt(test.away.size()));
                if (one.swapped().computedTokens() > 0 && one.swapped().scaleChanges != scaleChanges) {
                    refused(() -> test.cache.swapIn(one.swapped()), "Scales have been set since");
                    one.swapped().close();
                    test.away.remove(one);
                } else {
                    int before = test.away.size();
                    test.swapIn(one);
                    swaps += before - test.away.size();
                }
                return;
            }
            Tracked one = any();
            last = "swapOut";
            if (one.entry().closed) {
                refused(() -> test.cache.swapOut(one.sequence()), hasEnded(one));
            } else if (one.entry().scheduled > 0) {
                refused(() -> test.cache.swapOut(one.sequence()), "before the sequence is swapped out");
            } else {
                test.swapOut(one);
            }
        }

        private void file() throws IOException {
            if (random.nextInt(8) != 0) {
                test.saved.removeIf(one -> !test.isOfPresentWeights(one)); // they can't come back
            }
            if (!test.saved.isEmpty() && random.nextInt(3) != 0) {
                Saved one = test.saved.get(random.nextInt(test.saved.size()));
                last = "restore of " + one.entry().computed + " tokens";
                SequenceOptions options = random.nextInt(8) == 0
                        ? options()
                        : SequenceOptions.builder()
                                .salt(one.entry().options.salt())
                                .build();
                restored += test.restore(one, options) ? 1 : 0;
            } else {
                save(any());
            }
        }

        private void save(Tracked one) throws IOException {
            last = "save of " + one.entry().computed + " tokens";
            Path file = folder.resolve("" + files++ % 4);
            if (one.entry().closed) {
                refused(() -> saveUnchecked(one, file), hasEnded(one));
            } else if (one.entry().scheduled > 0) {
                refused(() -> saveUnchecked(one, file), "before the sequence is saved");
            } else if (one.entry().computed > 0 && one.entry().epoch != test.oracle.epoch) {
                refused(() -> saveUnchecked(one, file), "were computed before clearPrefixes");
            } else {
                test.saved.removeIf(saved -> saved.file().equals(file));
                test.save(one, file);
            }
        }

        private void saveUnchecked(Tracked one, Path file) {
            try {
                test.cache.save(one.sequence(), file);
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        }

        private void pin() {
            if (!test.pins.isEmpty() && random.nextBoolean()) {
                last = "unpin";
                test.unpin(test.pins.get(random.nextInt(test.pins.size())));
                return;
            }
            Tracked one = any();
            int tokens = random.nextInt(4) == 0 ? random.nextInt(one.entry().computed + 1) : one.entry().computed;
            last = "pin of " + tokens + " tokens";
            if (one.entry().closed) {
                refused(() -> one.sequence().pin(tokens), hasEnded(one));
            } else if (test.pin(one, tokens)) {
                pinned++;
            }
        }

        private <T> T any(T[] of) {
            return of[random.nextInt(of.length)];
        }

        private Tracked any() {
            return test.tracked.get(random.nextInt(test.tracked.size()));
        }

        private Tracked anyThatMayFindSome() {
            List<Tracked> waiting = test.tracked.stream()
                    .filter(one ->
                            one.entry().scheduled == 0 && one.entry().tokens.size() - one.entry().computed > 8)
                    .toList();
            return waiting.isEmpty() ? any() : waiting.get(random.nextInt(waiting.size()));
        }

        private Step anyStep() {
            return steps.get(random.nextInt(steps.size()));
        }

        /** Most begin like another one, and some are the same. */
        private List<Integer> prompt() {
            if (lately.isEmpty() || random.nextInt(4) == 0) {
                return tokens(random.nextInt(30));
            }
            if (random.nextInt(4) == 0 && !test.tracked.isEmpty()) { // it may be computed while this one waits
                List<Integer> prompt = new ArrayList<>(any().entry().tokens);
                prompt.addAll(tokens(random.nextInt(12)));
                return prompt;
            }
            List<Integer> known = lately.get(random.nextInt(lately.size()));
            boolean whole = random.nextBoolean();
            List<Integer> prompt =
                    new ArrayList<>(known.subList(0, whole ? known.size() : random.nextInt(known.size() + 1)));
            if (random.nextBoolean()) {
                prompt.addAll(tokens(random.nextInt(12)));
            }
            return prompt;
        }

        private void remember(Tracked one) {
            if (lately.size() == 8) {
                lately.remove(random.nextInt(8));
            }
            lately.add(List.copyOf(one.entry().tokens));
        }

        /** Few different ids, so that equal and nearly equal sequences are common. */
        private List<Integer> tokens(int count) {
            List<Integer> tokens = new ArrayList<>();
            for (int i = 0; i < count; i++) {
                tokens.add(random.nextInt(4));
            }
            return tokens;
        }

        private void append(Tracked one) {
            List<Integer> more = tokens(1 + random.nextInt(random.nextBoolean() ? 1 : 12));
            last = "append of " + more.size();
            if (one.sequence().isClosed()) {
                refused(() -> one.sequence().append(1), hasEnded(one));
                return;
            }
            if (more.size() == 1) {
                one.sequence().append((int) more.get(0));
            } else {
                one.sequence().append(more.stream().mapToInt(Integer::intValue).toArray());
            }
            one.entry().tokens.addAll(more);
        }

        private void catchUp(Tracked one) {
            last = "catchUp at " + one.entry().computed;
            if (one.entry().closed) {
                refused(one.sequence()::catchUp, hasEnded(one));
            } else if (one.entry().scheduled > 0) {
                refused(one.sequence()::catchUp, "before the sequence is caught up");
            } else {
                int before = one.entry().cached;
                test.catchUp(one);
                caughtUp += one.entry().cached > before ? 1 : 0;
            }
        }

        private static String hasEnded(Tracked one) {
            return one.sequence().isCancelled() ? "has been cancelled" : "has been closed";
        }

        private void add(Step step, Tracked one) {
            int pending = one.entry().tokens.size() - one.entry().computed;
            last = "add with " + pending + " pending";
            if (one.entry().closed) {
                refused(() -> step.batch().add(one.sequence(), 1), hasEnded(one));
            } else if (one.entry().scheduled > 0) {
                refused(() -> step.batch().add(one.sequence(), 1), "in an open batch already");
            } else if (pending == 0) {
                assertThatThrownBy(() -> step.batch().add(one.sequence()))
                        .isInstanceOf(IllegalArgumentException.class)
                        .hasMessageContaining("0 pending tokens");
            } else if (!test.add(step, one, random.nextInt(3) == 0 ? 1 + random.nextInt(pending) : pending)) {
                refusals++;
            }
        }

        private void step(Step step) {
            last = "step over " + step.added().size() + " sequences";
            if (step.added().isEmpty()) {
                return;
            }
            test.checkMetadata(step);
            for (int layer = 0; layer < CacheUnderTest.LAYERS; layer++) {
                test.write(step, layer);
                test.attendAndCompare(step, layer);
            }
            refused(() -> step.batch().add(any().sequence(), 1), "");
            if (random.nextInt(4) == 0) {
                close(step.added().get(random.nextInt(step.added().size())));
                test.checkState();
            }
            remember(step.added().get(0));
            test.settle(step, random.nextInt(6) != 0);
        }

        private void fork(Tracked one) {
            last = "fork at " + one.entry().computed;
            if (one.entry().closed) {
                refused(one.sequence()::fork, hasEnded(one));
            } else if (one.entry().scheduled > 0) {
                refused(one.sequence()::fork, "before the sequence is forked");
            } else if (test.tracked.size() < 12) {
                test.fork(one);
            }
        }

        private void truncate(Tracked one) {
            int length = random.nextInt(one.entry().tokens.size() + 1);
            last = "truncate of " + one.entry().tokens.size() + " to " + length;
            if (one.entry().closed) {
                refused(() -> one.sequence().truncate(length), hasEnded(one));
            } else if (one.entry().scheduled > 0) {
                refused(() -> one.sequence().truncate(length), "before the sequence is truncated");
            } else {
                test.truncate(one, length);
            }
        }

        private void close(Tracked one) {
            last = "close of " + one.entry().tokens.size() + " tokens";
            remember(one);
            if (one.entry().closed) {
                one.sequence().close();
            } else {
                ReleaseHint hint = random.nextBoolean() ? ReleaseHint.KEEP : any(ReleaseHint.values());
                last = hint + " " + last;
                if (random.nextInt(8) == 0) {
                    test.cancel(one);
                } else if (random.nextInt(4) == 0) {
                    test.closeElsewhere(one, hint);
                } else {
                    test.close(one, hint);
                }
                one.sequence().close();
            }
        }

        private void replaceBatch(int index) {
            last = "close of a batch";
            Step old = steps.get(index);
            test.settle(old, false);
            old.batch().close();
            old.batch().close();
            refused(old.batch()::commit, "This batch has been closed");
            steps.set(index, new Step(test.cache.batch(), new ArrayList<>()));
        }

        private void setScales() {
            last = "setScales";
            KvScales.LayerScales same = test.cache.scales().layer(0);
            if (test.tracked.stream().anyMatch(one -> one.entry().computed > 0)) {
                refused(() -> test.cache.setScales(0, same), "holds tokens that were stored with its present scales");
            } else if (test.cache.stats().usedBlocks() == 0) {
                test.cache.setScales(0, same);
                scaleChanges++;
                test.oracle.clear();
            }
        }

        private static void refused(Runnable call, String message) {
            assertThatThrownBy(call::run)
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining(message);
        }

        /** The content of one sequence after each operation, of every one now and then. */
        @Override
        public void check(int operation) {
            test.checkState();
            List<Tracked> chosen = operation % 64 == 0 || test.tracked.isEmpty() ? test.tracked : List.of(any());
            chosen.stream().filter(one -> !one.entry().closed).forEach(test::checkContent);
        }
    }
}
