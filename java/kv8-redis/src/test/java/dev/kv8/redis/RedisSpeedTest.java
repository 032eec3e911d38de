package dev.kv8.redis;

import dev.kv8.BlockKey;
import dev.kv8.BlockStore;
import dev.kv8.BlockTransfer;
import java.io.IOException;
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
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledIfSystemProperty;

/**
 * A measurement, not a test: the Redis tier beside redis-benchmark with values of the same size, on the same server. Transfers are
 * those of a cache: up to 4 MiB, four under way.
 */
@EnabledIfSystemProperty(named = "kv8.measure", matches = "true")
class RedisSpeedTest {
    private static final int TOTAL = 192 << 20;
    private static final int ROUNDS = 5;
    private static final int UNDER_WAY = 4;
    private static final Pattern RATE = Pattern.compile("(SET|GET): ([0-9.]+) requests per second");

    @Test
    void measure() throws Exception {
        System.out.println("GB/s, best and median of " + ROUNDS + ": value, store, load, redis-benchmark SET, GET");
        for (int size : new int[] {64 << 10, 256 << 10, 1 << 20, 2 << 20, 4 << 20}) {
            try (RedisServer server = RedisServer.start();
                    RedisBlockStore store = RedisBlockStore.open(server.uri())) {
                double[][] rates = new double[4][ROUNDS];
                for (int round = 0; round < ROUNDS; round++) {
                    rates[0][round] = run(store, size, true);
                    rates[1][round] = run(store, size, false);
                    benchmark(server, size, rates[2], rates[3], round);
                }
                StringBuilder line = new StringBuilder((size >> 10) + " KiB");
                for (double[] rate : rates) {
                    Arrays.sort(rate);
                    line.append(String.format(Locale.ROOT, "  %.2f (%.2f)", rate[ROUNDS - 1], rate[ROUNDS / 2]));
                }
                System.out.println(line);
            }
        }
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
