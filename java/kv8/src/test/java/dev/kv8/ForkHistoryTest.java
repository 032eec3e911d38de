package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.stream.LongStream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Forks share arrays of token ids and of keys: what one writes, no other may see, in whatever order they grow and shrink. */
class ForkHistoryTest {
    private static final int BLOCKS = 400;
    private static final int OPERATIONS = Integer.getInteger("kv8.operations", 4_000);

    private final SilentBackend backend = new SilentBackend();
    private final KvCache cache =
            KvCache.create(backend, OneLayer.config().blocks(BLOCKS).build());
    private final Batch batch = cache.batch();

    private record Known(Sequence sequence, List<Integer> tokens) {}

    @AfterEach
    void close() {
        OneLayer.close(cache, backend);
    }

    static LongStream seeds() {
        Long given = Long.getLong("kv8.seed");
        return given != null ? LongStream.of(given) : LongStream.of(1, 2, System.nanoTime());
    }

    @ParameterizedTest
    @MethodSource("seeds")
    void everyForkKeepsItsOwnTokensAndKeys(long seed) throws InterruptedException {
        Random random = new Random(seed);
        ExecutorService others = Executors.newSingleThreadExecutor();
        List<Known> open = new ArrayList<>();
        try {
            for (int i = 0; i < OPERATIONS; i++) {
                operate(random, open, others);
                for (Known known : open) {
                    checkTokens(known, "seed " + seed + ", operation " + i);
                }
                if (i % 10 == 0 && !open.isEmpty()) {
                    checkKeys(open.get(random.nextInt(open.size())), "seed " + seed + ", operation " + i);
                }
            }
        } finally {
            others.shutdown();
            assertThat(others.awaitTermination(1, TimeUnit.MINUTES)).isTrue();
        }
        open.forEach(known -> known.sequence.close());
    }

    private void operate(Random random, List<Known> open, ExecutorService others) {
        if (open.isEmpty()) {
            open.add(new Known(cache.open(7), new ArrayList<>(List.of(7))));
        }
        int at = random.nextInt(open.size());
        Known known = open.get(at);
        switch (random.nextInt(20)) {
            case 0, 1, 2, 3 -> {
                if (open.size() < 8) {
                    open.add(new Known(known.sequence.fork(), new ArrayList<>(known.tokens)));
                }
            }
            case 4, 5, 6 -> {
                int length = random.nextInt(known.tokens.size() + 1);
                known.sequence.truncate(length);
                known.tokens.subList(length, known.tokens.size()).clear();
            }
            case 7 -> {
                open.remove(at);
                others.execute(random.nextBoolean() ? known.sequence::cancel : known.sequence::close);
            }
            case 8 -> reorder(random, open);
            case 9, 10, 11, 12, 13, 14 -> append(random, known);
            default -> compute(random, known.sequence);
        }
    }

    private static void append(Random random, Known known) {
        int[] ids = random.ints(random.nextInt(known.tokens.size() < 200 ? 20 : 1), 0, 3)
                .toArray();
        if (ids.length == 1) {
            known.sequence.append(ids[0]);
        } else {
            known.sequence.append(ids);
        }
        for (int id : ids) {
            known.tokens.add(id);
        }
    }

    private void compute(Random random, Sequence sequence) {
        int pending = sequence.pendingTokens();
        if (pending > 0 && batch.add(sequence, 1 + random.nextInt(pending))) {
            batch.commit();
        }
    }

    private void reorder(Random random, List<Known> open) {
        Sequence[] beam = open.stream().map(Known::sequence).toArray(Sequence[]::new);
        int[] parents = random.ints(beam.length, 0, beam.length).toArray();
        cache.reorder(beam, parents);
        List<List<Integer>> before =
                open.stream().map(known -> List.copyOf(known.tokens)).toList();
        for (int i = 0; i < parents.length; i++) {
            open.get(i).tokens.clear();
            open.get(i).tokens.addAll(before.get(parents[i]));
        }
    }

    private static void checkTokens(Known known, String where) {
        assertThat(known.sequence.length()).as(where).isEqualTo(known.tokens.size());
        for (int i = 0; i < known.tokens.size(); i++) {
            assertThat(known.sequence.token(i)).as("%s, token %d", where, i).isEqualTo(known.tokens.get(i));
        }
    }

    /** The keys that it knows are those of its tokens. */
    private void checkKeys(Known known, String where) {
        BlockTable table = known.sequence.table;
        BlockTable fresh = new BlockTable(SequenceOptions.DEFAULT);
        int[] tokens = known.tokens.stream().mapToInt(Integer::intValue).toArray();
        long[] expected = cache.ledger().prefixes().keys().of(fresh, tokens, table.keyCount);
        for (int i = 0; i < table.keyCount * PrefixIndex.KEY; i++) {
            assertThat(table.keys()[i]).as("%s, word %d of the keys", where, i).isEqualTo(expected[i]);
        }
    }

    @Test
    void aForkCopiesNeitherTokensNorKeysBeforeSomebodyWrites() {
        try (Sequence parent = cache.open(new int[80])) {
            batch.add(parent);
            batch.commit();
            try (Sequence child = parent.fork()) {
                assertThat(child.tokenIds()).isSameAs(parent.tokenIds());
                assertThat(child.table.keys()).isSameAs(parent.table.keys());
                parent.append(1);
                child.append(2);
                assertThat(child.token(80)).isEqualTo(2);
                assertThat(parent.token(80)).isEqualTo(1);
                assertThat(child.tokenIds()).isNotSameAs(parent.tokenIds());
            }
        }
    }
}
