package dev.kv8.redis;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.kv8.BlockTransfer.Outcome;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A cluster of three nodes, and a server that speaks TLS. */
class RedisClusterTest {
    private static final int SMALL = 50_000;

    /** Three nodes that know each other; each goes on without the others. */
    private static List<RedisServer> cluster() throws Exception {
        List<RedisServer> nodes = new ArrayList<>();
        try {
            for (int i = 0; i < 3; i++) {
                nodes.add(RedisServer.start("--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"));
            }
            List<String> create = new ArrayList<>(List.of("--cluster", "create"));
            nodes.forEach(node -> create.add("127.0.0.1:" + node.port()));
            create.add("--cluster-yes");
            String created = nodes.get(0).run(create.toArray(String[]::new));
            assertThat(created).contains("All 16384 slots covered");
            for (RedisServer node : nodes) {
                await(() -> node.run("CLUSTER", "INFO").contains("cluster_state:ok"));
            }
            return nodes;
        } catch (Exception | AssertionError e) {
            close(nodes);
            throw e;
        }
    }

    private static void close(List<RedisServer> nodes) throws IOException {
        for (RedisServer node : nodes) {
            node.close();
        }
    }

    @Test
    void blocksAreSpreadOverAClustersNodes() throws Exception {
        List<RedisServer> nodes = cluster();
        try (RedisBlockStore store =
                RedisBlockStore.builder(nodes.get(0).uri()).cluster(true).open()) {
            for (int i = 0; i < 30; i++) {
                assertThat(Transfers.store(store, i, SMALL)).isEqualTo(Outcome.DONE);
            }
            int large = FramePart.MOST_BYTES + 1;
            assertThat(Transfers.store(store, 100, large)).isEqualTo(Outcome.DONE);
            assertThat(store.lookup(Transfers.keys(0, 40), Transfers.soon())).isEqualTo(30);
            for (int i = 0; i < 30; i++) {
                assertThat(Transfers.load(store, i, SMALL)).isTrue();
            }
            assertThat(Transfers.load(store, 100, large)).isTrue();
            for (RedisServer node : nodes) {
                assertThat(Integer.parseInt(node.run("DBSIZE"))).isPositive();
            }
        } finally {
            close(nodes);
        }
    }

    @Test
    void whatADeadNodeHadIsAMissAndTheRestComes() throws Exception {
        List<RedisServer> nodes = cluster();
        try (RedisBlockStore store = RedisBlockStore.builder(nodes.get(0).uri())
                .cluster(true)
                .commandTimeout(Duration.ofSeconds(1))
                .open()) {
            for (int i = 0; i < 30; i++) {
                assertThat(Transfers.store(store, i, SMALL)).isEqualTo(Outcome.DONE);
            }
            int gone = Integer.parseInt(nodes.get(2).run("DBSIZE"));
            nodes.get(2).kill();
            int there = 0;
            for (int i = 0; i < 30; i++) {
                Boolean loaded = Transfers.load(store, i, SMALL);
                assertThat(loaded).isNotEqualTo(false);
                there += loaded == null ? 0 : 1;
            }
            assertThat(gone).isPositive();
            assertThat(there).isEqualTo(30 - gone).isPositive();
        } finally {
            close(nodes);
        }
    }

    private interface Condition {
        boolean holds() throws Exception;
    }

    private static void await(Condition condition) throws Exception {
        long end = System.nanoTime() + 120_000_000_000L;
        while (!condition.holds()) {
            assertThat(System.nanoTime()).as("waited too long").isLessThan(end);
        }
    }

    @Test
    void speaksTlsByUri(@TempDir Path folder) throws Exception {
        assumeTrue(RedisServer.isOnPath("openssl"), "openssl, which makes the test's certificate, is not installed");
        Path key = folder.resolve("key.pem");
        Path certificate = folder.resolve("certificate.pem");
        run(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "1",
                "-subj",
                "/CN=localhost",
                "-keyout",
                key.toString(),
                "-out",
                certificate.toString());
        int port = RedisServer.freePort();
        try (RedisServer server = RedisServer.start(
                "--tls-port",
                Integer.toString(port),
                "--tls-cert-file",
                certificate.toString(),
                "--tls-key-file",
                key.toString(),
                "--tls-ca-cert-file",
                certificate.toString(),
                "--tls-auth-clients",
                "no")) {
            try (RedisBlockStore store = RedisBlockStore.open("rediss://127.0.0.1:" + port + "?verifyPeer=NONE")) {
                assertThat(Transfers.store(store, 1, SMALL)).isEqualTo(Outcome.DONE);
                assertThat(Transfers.load(store, 1, SMALL)).isTrue();
            }
            try (RedisBlockStore store = RedisBlockStore.open("rediss://127.0.0.1:" + port)) {
                assertThat(Transfers.store(store, 1, SMALL))
                        .as("a certificate that nobody vouches for")
                        .isEqualTo(Outcome.FAILED);
            }
            assertThat(server.run("DBSIZE")).isEqualTo("1");
        }
    }

    private static void run(String... command) throws IOException, InterruptedException {
        Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
        String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(process.waitFor()).as(output).isZero();
    }
}
