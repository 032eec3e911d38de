package dev.kv8;

import java.util.Arrays;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;

/** Through the door, with kernels that do nothing: a token more, a step of a batch, a fork. */
public class Sequences {

    /** A cache of 16-token blocks and one sequence in it. */
    @State(Scope.Thread)
    public abstract static class Base {
        final KvCache cache = KvCache.create(
                NoKernels.open(),
                KvCacheConfig.builder()
                        .layers(1)
                        .kvHeads(1)
                        .headSize(64)
                        .dtype(KvCacheDType.FP8)
                        .blocks(100_000)
                        .build());
        final Batch batch = cache.batch();

        Sequence computed(int tokens) {
            int[] prompt = new int[tokens];
            Arrays.setAll(prompt, i -> i);
            Sequence sequence = cache.open(prompt);
            batch.add(sequence);
            batch.commit();
            return sequence;
        }
    }

    /** Tokens that are not computed yet. */
    public static class Append extends Base {
        private static final int TOKENS = 1024;
        private final Sequence sequence = computed(16);

        @Benchmark
        @OperationsPerInvocation(TOKENS)
        public void append() {
            for (int i = 0; i < TOKENS; i++) {
                sequence.append(i);
            }
        }

        @TearDown(Level.Invocation)
        public void truncate() {
            sequence.truncate(16);
        }
    }

    /** One decode step of one of 64 sequences, inside a block: append, add, commit; without the metadata for kernels. */
    public static class Step extends Base {
        private static final int SEQUENCES = 64;
        private final Sequence[] sequences = new Sequence[SEQUENCES];
        private int steps;

        @Setup
        public void open() {
            for (int i = 0; i < SEQUENCES; i++) {
                sequences[i] = cache.open(i);
                batch.add(sequences[i]);
            }
            batch.commit();
        }

        @Setup(Level.Invocation)
        public void stayInsideABlock() {
            if (++steps % 15 == 0) {
                for (Sequence sequence : sequences) {
                    sequence.truncate(1);
                }
            }
        }

        @Benchmark
        @OperationsPerInvocation(SEQUENCES)
        public void stepInsideABlock() {
            for (Sequence sequence : sequences) {
                sequence.append(1);
                batch.add(sequence);
            }
            batch.commit();
        }
    }

    /** A fork of a sequence, for as many blocks. */
    public static class Fork extends Base {
        private static final int FORKS = 16;

        @Param({"16", "64", "752"})
        public int sequenceBlocks;

        private Sequence parent = computed(1);
        private final Sequence[] children = new Sequence[FORKS];

        @Setup
        public void fill() {
            parent = computed(16 * sequenceBlocks);
        }

        @Benchmark
        @OperationsPerInvocation(FORKS)
        public void fork() {
            for (int i = 0; i < FORKS; i++) {
                children[i] = parent.fork();
            }
        }

        @TearDown(Level.Invocation)
        public void close() {
            for (Sequence child : children) {
                child.close();
            }
        }
    }
}
