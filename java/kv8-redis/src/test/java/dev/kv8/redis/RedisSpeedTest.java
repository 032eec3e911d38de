package dev.kv8.redis;

import dev.kv8.BlockKey;
import dev.kv8.BlockStore;
import dev.kv8.BlockTransfer;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadInfo;
import java.lang.management.ThreadMXBean;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.condition.EnabledIfSystemProperty;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * A measurement, not a test: the Redis tier beside redis-benchmark with values of the same size, on the same server, in turns.
 * Transfers are those of a cache: up to 4 MiB, four under way. The tier runs for a while before it counts: what the JVM still
 * compiles would else be most of what is measured. Prints for each size the best and the median rate, the median of what the tier
 * reached of redis-benchmark in the same turn, and the processor time that the connection's thread and the server took for a GB.
 */
@EnabledIfSystemProperty(named = "kv8.measure", matches = "true")
class RedisSpeedTest {
    private static final int TOTAL = 192 << 20;
    private static final int WARM_UP = 20;
    private static final int ROUNDS = Integer.getInteger("kv8.rounds", 9);
    private static final int UNDER_WAY = 4;
    private static final Pattern RATE = Pattern.compile("(SET|GET): ([0-9.]+) requests per second");
    private static final ThreadMXBean THREADS = ManagementFactory.getThreadMXBean();

    @ParameterizedTest
    @ValueSource(ints = {64 << 10, 256 << 10, 1 << 20, 2 << 20, 4 << 20})
    void measure(int size) throws Exception {
        try (RedisServer server = RedisServer.start();
                RedisBlockStore store = RedisBlockStore.open(server.uri())) {
            for (int i = 0; i < WARM_UP; i++) {
                run(store, size, true);
                run(store, size, false);
            }
            double[][] rates = new double[4][ROUNDS];
            double[][] shares = new double[2][ROUNDS];
            double[] client = new double[2];
            double[] servers = new double[2];
            for (int round = 0; round < ROUNDS; round++) {
                for (int i = 0; i < 2; i++) {
                    client[i] -= connectionSeconds();
                    servers[i] -= serverSeconds(server);
                    rates[i][round] = run(store, size, i == 0);
                    servers[i] += serverSeconds(server);
                    client[i] += connectionSeconds();
                }
                benchmark(server, size, rates[2], rates[3], round);
                for (int i = 0; i < 2; i++) {
                    shares[i][round] = 100 * rates[i][round] / rates[i + 2][round];
                }
            }
            int values = TOTAL / size;
            double bytes = 1e-9 * ROUNDS * values * size;
            for (int i = 0; i < 2; i++) {
                System.out.printf(
                        Locale.ROOT,
                        "%d KiB, %s: %s GB/s, redis-benchmark %s GB/s, %.0f %% of it; connection %.2f s/GB, server %.2f s/GB%n",
                        size >> 10,
                        i == 0 ? "store" : "load",
                        bestAndMedian(rates[i]),
                        bestAndMedian(rates[i + 2]),
                        median(shares[i]),
                        client[i] / bytes,
                        servers[i] / bytes);
            }
        }
    }

    private static String bestAndMedian(double[] rates) {
        return String.format(
                Locale.ROOT, "%.2f (%.2f)", Arrays.stream(rates).max().orElseThrow(), median(rates));
    }

    private static double median(double[] values) {
        double[] sorted = values.clone();
        Arrays.sort(sorted);
        return sorted[sorted.length / 2];
    }

    /** Processor time of the threads that connections have. */
    private static double connectionSeconds() {
        double seconds = 0;
        for (ThreadInfo thread : THREADS.getThreadInfo(THREADS.getAllThreadIds())) {
            if (thread != null && thread.getThreadName().startsWith("lettuce-")) {
                seconds += THREADS.getThreadCpuTime(thread.getThreadId()) / 1e9;
            }
        }
        return seconds;
    }

    private static double serverSeconds(RedisServer server) throws IOException, InterruptedException {
        double seconds = 0;
        for (String line : server.run("INFO", "cpu").split("\\R")) {
            if (line.startsWith("used_cpu_sys:") || line.startsWith("used_cpu_user:")) {
                seconds += Double.parseDouble(line.substring(line.indexOf(':') + 1));
            }
        }
        return seconds;
    }

    private static double run(BlockStore store, int size, boolean isStore) throws InterruptedException {
        int group = Math.max(1, store.transferBytes() / size);
        int transfers = TOTAL / size / group;
        List<List<ByteBuffer>> buffers = new ArrayList<>();
        for (int i = 0; i < UNDER_WAY; i++) {
            List<ByteBuffer> some = new ArrayList<>();
            for (int b = 0; b < group; b++) {
                some.add(ByteBuffer.allocateDirect(size));
            }
            buffers.add(some);
        }
        Semaphore permits = new Semaphore(UNDER_WAY);
        long start = System.nanoTime();
        for (int t = 0; t < transfers; t++) {
            permits.acquire();
            List<BlockKey> keys = Transfers.keys(t * group, (t + 1) * group);
            BlockTransfer transfer =
                    new BlockTransfer(keys, buffers.get(t % UNDER_WAY), Transfers.soon(), new Counting(group, permits));
            if (isStore) {
                store.store(transfer);
            } else {
                store.load(transfer);
            }
        }
        permits.acquire(UNDER_WAY);
        return (double) transfers * group * size / (System.nanoTime() - start);
    }

    /** Gives a permit back when all blocks are done. */
    private static final class Counting implements BlockTransfer.Listener {
        private final AtomicInteger left;
        private final Semaphore permits;

        Counting(int blocks, Semaphore permits) {
            this.left = new AtomicInteger(blocks);
            this.permits = permits;
        }

        @Override
        public void completed(
                BlockTransfer transfer,
                int index,
                BlockTransfer.Outcome outcome,
                int bytes,
                @Nullable Throwable cause) {
            if (outcome != BlockTransfer.Outcome.DONE) {
                throw new IllegalStateException(outcome + ": " + cause);
            }
            if (left.decrementAndGet() == 0) {
                permits.release();
            }
        }
    }

    private static void benchmark(RedisServer server, int size, double[] set, double[] get, int round)
            throws IOException, InterruptedException {
        int count = Math.max(64, TOTAL / size);
        Process process = new ProcessBuilder(
                        "redis-benchmark",
                        "-p",
                        Integer.toString(server.port()),
                        "-c",
                        "4",
                        "-d",
                        Integer.toString(size),
                        "-n",
                        Integer.toString(count),
                        "-r",
                        "64",
                        "-t",
                        "set,get",
                        "-q")
                .redirectErrorStream(true)
                .start();
        String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        process.waitFor(60, TimeUnit.SECONDS);
        Matcher found = RATE.matcher(output.replace('\r', '\n'));
        while (found.find()) {
            (found.group(1).equals("SET") ? set : get)[round] = Double.parseDouble(found.group(2)) * size / 1e9;
        }
    }
}
