package dev.kv8.server;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.json.JsonMapper;
import dev.kv8.CacheStats;
import dev.kv8.llm.SamplingParams;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.time.Duration;
import java.util.SplittableRandom;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;

/** Clients that read slowly, leave, or are many. */
class StreamsTest {
    private static final String COMPLETIONS = "/v1/completions";
    private static final int STREAMS = 200;
    private static final int REQUEST_TOKENS = 40;

    @Test
    void streamsThatAreReadSlowlyLoseNothingAndHoldUpNobody() throws IOException {
        try (TinyServer tiny = TinyServer.start()) {
            String json =
                    "{\"prompt\":\"In the beginning\",\"max_tokens\":1500,\"ignore_eos\":true,\"temperature\":0,\"stream\":true}";
            String written = tiny.llm
                    .generate(
                            "In the beginning",
                            SamplingParams.builder()
                                    .temperature(0)
                                    .maxTokens(1500)
                                    .ignoreEos(true)
                                    .build())
                    .get(0)
                    .text();
            try (Socket slow = new Socket()) {
                slow.setReceiveBufferSize(4096);
                slow.connect(new InetSocketAddress(
                        tiny.server.uri().getHost(), tiny.server.uri().getPort()));
                slow.getOutputStream().write(RawRequest.post(COMPLETIONS, json).getBytes(UTF_8));
                tiny.awaitRunning(1);
                // The text ends while nobody reads: the engine does not wait for the client.
                assertThat(tiny.awaitIdle().usedBlocks()).isZero();
                StringBuilder read = new StringBuilder();
                BufferedReader in = new BufferedReader(new InputStreamReader(slow.getInputStream(), UTF_8));
                var mapper = JsonMapper.builder().build();
                for (String line = in.readLine(); line != null && !line.endsWith("[DONE]"); line = in.readLine()) {
                    if (line.startsWith("data: ")) {
                        read.append(mapper.readTree(line.substring(6))
                                .at("/choices/0/text")
                                .asText());
                    }
                }
                assertThat(read.toString()).isEqualTo(written);
            }
        }
    }

    /** As many streams as {@code -Dkv8.soak=SECONDS} says for how long; five seconds otherwise. */
    @Test
    void clientsThatLeaveAtAnyMomentLeaveNothingBehind() throws InterruptedException {
        long seconds = Long.getLong("kv8.soak", 5);
        long seed = Long.getLong("kv8.seed", 20261126L);
        try (TinyServer tiny = TinyServer.start()) {
            AtomicInteger whole = new AtomicInteger();
            AtomicInteger left = new AtomicInteger();
            AtomicInteger broken = new AtomicInteger();
            long end = System.nanoTime() + Duration.ofSeconds(seconds).toNanos();
            ExecutorService clients = Executors.newFixedThreadPool(STREAMS);
            for (int i = 0; i < STREAMS; i++) {
                SplittableRandom random = new SplittableRandom(seed + i);
                clients.execute(() -> {
                    while (System.nanoTime() < end) {
                        try {
                            (converse(tiny, random) ? whole : left).incrementAndGet();
                        } catch (IOException e) {
                            broken.incrementAndGet();
                        }
                    }
                });
            }
            clients.shutdown();
            assertThat(clients.awaitTermination(seconds + 120, TimeUnit.SECONDS))
                    .isTrue();
            CacheStats cache = tiny.awaitIdle();
            assertThat(broken.get())
                    .as("seed %d: connections that broke by themselves", seed)
                    .isZero();
            assertThat(whole.get()).as("streams read to their end").isPositive();
            assertThat(left.get()).as("streams left").isPositive();
            assertThat(cache.openSequences()).as("seed %d", seed).isZero();
            assertThat(cache.usedBlocks()).as("seed %d", seed).isZero();
            assertThat(tiny.llm.stats().running()).isZero();
            assertThat(tiny.llm.stats().waiting()).isZero();
            assertThat(tiny.llm.stats().failedRequests()).isZero();
            System.getLogger(StreamsTest.class.getName())
                    .log(
                            System.Logger.Level.INFO,
                            "{0} s: {1} streams read to their end, {2} left; {3}",
                            seconds,
                            whole,
                            left,
                            tiny.llm.stats());
            assertThat(tiny.stream(COMPLETIONS, request(random(seed))))
                    .as("the server goes on")
                    .isNotEmpty();
        }
    }

    private static SplittableRandom random(long seed) {
        return new SplittableRandom(seed);
    }

    private static String request(SplittableRandom random) {
        return "{\"prompt\":\"" + "And it came to pass ".repeat(1 + random.nextInt(8)) + random.nextInt(1000)
                + "\",\"max_tokens\":" + REQUEST_TOKENS + ",\"ignore_eos\":true,\"stream\":true,\"n\":"
                + (1 + random.nextInt(2)) + "}";
    }

    /** Reads a stream to its end, or leaves after some bytes; whether it was read to its end. */
    private static boolean converse(TinyServer tiny, SplittableRandom random) throws IOException {
        int patience = random.nextInt(3) == 0 ? Integer.MAX_VALUE : random.nextInt(12_000);
        try (Socket socket = RawRequest.open(tiny.server.uri(), RawRequest.post(COMPLETIONS, request(random)))) {
            socket.setSoTimeout(120_000);
            InputStream in = socket.getInputStream();
            byte[] buffer = new byte[2048];
            String tail = "";
            for (int read = 0; read < patience; ) {
                int count = in.read(buffer, 0, Math.min(buffer.length, patience - read));
                if (count < 0) {
                    throw new IOException("The server ended the stream: " + tail);
                }
                read += count;
                tail = (tail + new String(buffer, 0, count, UTF_8));
                tail = tail.substring(Math.max(0, tail.length() - 64));
                if (tail.contains("data: [DONE]")) {
                    return true;
                }
            }
            if (random.nextBoolean()) {
                socket.setSoLinger(true, 0); // leaves with a reset
            }
            return false;
        }
    }
}
