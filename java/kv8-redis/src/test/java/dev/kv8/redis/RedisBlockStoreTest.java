package dev.kv8.redis;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.kv8.BlockTransfer;
import dev.kv8.BlockTransfer.Outcome;
import io.lettuce.core.RedisURI;
import java.io.IOException;
import java.net.ServerSocket;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;

class RedisBlockStoreTest {
    private static final int SMALL = 50_000;

    /** Soon becomes so by itself, as when a connection is made again. */
    private static void await(Callable<Boolean> condition) throws Exception {
        long end = System.nanoTime() + 120_000_000_000L;
        while (!condition.call()) {
            assertThat(System.nanoTime()).as("waited too long").isLessThan(end);
        }
    }

    @Test
    void blocksComeBackAsTheyWere() throws Exception {
        try (RedisServer server = RedisServer.start();
                RedisBlockStore store = RedisBlockStore.open(server.uri())) {
            for (int i = 0; i < 20; i++) {
                assertThat(Transfers.store(store, i, SMALL)).isEqualTo(Outcome.DONE);
            }
            assertThat(store.lookup(Transfers.keys(0, 30), Transfers.soon())).isEqualTo(20);
            assertThat(store.lookup(Transfers.keys(30, 40), Transfers.soon())).isZero();
            for (int i = 0; i < 20; i++) {
                assertThat(Transfers.load(store, i, SMALL)).isTrue();
            }
            assertThat(Transfers.load(store, 20, SMALL)).isNull();
            store.forget(Transfers.key(3));
            store.forget(Transfers.key(3));
            await(() -> store.lookup(Transfers.keys(0, 30), Transfers.soon()) == 3);
        }
    }

    @Test
    void whichOfManyBlocksAreThereIsKnownAtOnce() throws Exception {
        try (RedisServer server = RedisServer.start();
                RedisBlockStore store = RedisBlockStore.open(server.uri())) {
            BitSet stored = new BitSet();
            for (int i : new int[] {1, 2, 130, 299}) {
                assertThat(Transfers.store(store, i, 100)).isEqualTo(Outcome.DONE);
                stored.set(i);
            }
            assertThat(store.present(Transfers.keys(0, 300), Transfers.soon())).isEqualTo(stored);
            assertThat(store.present(List.of(), Transfers.soon())).isEqualTo(new BitSet());
        }
    }

    @Test
    void aLargeBlockIsSeveralValuesAndAMissWithoutOneOfThem() throws Exception {
        int length = 2 * FramePart.MOST_BYTES + 12_345;
        try (RedisServer server = RedisServer.start();
                RedisBlockStore store = RedisBlockStore.open(server.uri())) {
            assertThat(Transfers.store(store, 1, length)).isEqualTo(Outcome.DONE);
            assertThat(server.run("DBSIZE")).isEqualTo("3");
            assertThat(Transfers.load(store, 1, length)).isTrue();
            server.run("DEL", "kv8:1:{" + Transfers.key(1).hex() + "}:1");
            assertThat(Transfers.load(store, 1, length)).isNull();
            assertThat(Transfers.store(store, 1, length)).isEqualTo(Outcome.DONE);
            assertThat(Transfers.load(store, 1, length)).isTrue();
            server.run("SET", "kv8:1:{" + Transfers.key(1).hex() + "}:2", "short");
            assertThat(Transfers.load(store, 1, length))
                    .as("bytes that do not add up")
                    .isFalse();
            server.run("SETRANGE", "kv8:1:{" + Transfers.key(1).hex() + "}", Integer.toString(length), "x");
            assertThat(Transfers.load(store, 1, length))
                    .as("more bytes than there is room for")
                    .isFalse();
        }
    }

    @Test
    void blocksExpireUnlessTheyAreUsed() throws Exception {
        try (RedisServer server = RedisServer.start();
                RedisBlockStore store = RedisBlockStore.builder(server.uri())
                        .timeToLive(Duration.ofMinutes(2))
                        .open()) {
            String name = "kv8:1:{" + Transfers.key(1).hex() + "}";
            Transfers.store(store, 1, SMALL);
            assertThat(Long.parseLong(server.run("PTTL", name))).isBetween(60_000L, 120_000L);
            server.run("PEXPIRE", name, "50000");
            assertThat(Transfers.load(store, 1, SMALL)).isTrue();
            await(() -> Long.parseLong(server.run("PTTL", name)) > 60_000);
        }
    }

    @Test
    void blocksLiveForHalfAnHourUnlessToldOtherwise() throws Exception {
        try (RedisServer server = RedisServer.start();
                RedisBlockStore store = RedisBlockStore.open(server.uri())) {
            Transfers.store(store, 1, SMALL);
            String name = "kv8:1:{" + Transfers.key(1).hex() + "}";
            assertThat(Long.parseLong(server.run("PTTL", name))).isBetween(20 * 60_000L, 30 * 60_000L);
        }
    }

    @Test
    void aUserOfAnAccessListIsGivenWithTheUri() throws Exception {
        try (RedisServer server = RedisServer.start()) {
            assertThat(server.run("ACL", "SETUSER", "tenant", "on", ">secret", "~kv8:*", "+@all"))
                    .isEqualTo("OK");
            assertThat(server.run("ACL", "SETUSER", "default", "off")).isEqualTo("OK");
            try (RedisBlockStore store = RedisBlockStore.open("redis://tenant:secret@127.0.0.1:" + server.port())) {
                assertThat(Transfers.store(store, 1, SMALL)).isEqualTo(Outcome.DONE);
                assertThat(Transfers.load(store, 1, SMALL)).isTrue();
            }
            for (String other : List.of("tenant:wrong@", "somebody:secret@", "")) {
                try (RedisBlockStore store = RedisBlockStore.open("redis://" + other + "127.0.0.1:" + server.port())) {
                    assertThat(Transfers.load(store, 1, SMALL)).as(other).isNull();
                    assertThat(Transfers.store(store, 2, SMALL)).as(other).isEqualTo(Outcome.FAILED);
                }
            }
        }
    }

    @Test
    void aServerThatAnswersLateButInTimeIsWaitedFor() throws Exception {
        try (RedisServer server = RedisServer.start();
                RedisBlockStore store = RedisBlockStore.open(server.uri())) {
            assertThat(Transfers.store(store, 1, SMALL)).isEqualTo(Outcome.DONE);
            assertThat(Transfers.load(store, 1, SMALL))
                    .as("so that it is connected")
                    .isTrue();
            server.freeze();
            Transfers.Result late = new Transfers.Result(1);
            ByteBuffer room = Transfers.room(SMALL);
            store.load(new BlockTransfer(Transfers.keys(1, 2), List.of(room), Transfers.soon(), late));
            Thread.sleep(300);
            assertThat(late.outcomes[0]).as("still under way").isNull();
            server.thaw();
            assertThat(late.await().outcomes[0]).isEqualTo(Outcome.DONE);
            assertThat(room).isEqualTo(Transfers.bytes(1, SMALL));
        }
    }

    @Test
    void aFullServerRefusesAndKeepsWhatItHas() throws IOException {
        try (RedisServer server = RedisServer.start("--maxmemory", "3mb", "--maxmemory-policy", "noeviction");
                RedisBlockStore store = RedisBlockStore.open(server.uri())) {
            List<Outcome> outcomes = new ArrayList<>();
            for (int i = 0; i < 40; i++) {
                outcomes.add(Transfers.store(store, i, SMALL));
            }
            assertThat(outcomes).containsOnly(Outcome.DONE, Outcome.REFUSED).contains(Outcome.REFUSED);
            assertThat(Transfers.load(store, 0, SMALL)).isTrue();
        }
    }

    @Test
    void aServerThatEvictsGivesMisses() throws IOException {
        try (RedisServer server = RedisServer.start("--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru");
                RedisBlockStore store = RedisBlockStore.open(server.uri())) {
            for (int i = 0; i < 60; i++) {
                assertThat(Transfers.store(store, i, SMALL)).isEqualTo(Outcome.DONE);
            }
            int there = 0;
            for (int i = 0; i < 60; i++) {
                Boolean loaded = Transfers.load(store, i, SMALL);
                assertThat(loaded).isNotEqualTo(false);
                there += loaded == null ? 0 : 1;
            }
            assertThat(there).isBetween(1, 59);
        }
    }

    @Test
    void everythingFailsQuicklyWithoutAServerAndWorksOnceThereIsOne() throws Exception {
        try (RedisServer server = RedisServer.start()) {
            server.kill();
            try (RedisBlockStore store = RedisBlockStore.open(server.uri())) {
                store.prepare(SMALL);
                assertThatThrownBy(() -> store.lookup(Transfers.keys(0, 2), Transfers.soon()))
                        .isInstanceOf(IOException.class)
                        .hasMessageContaining("No connection to");
                assertThat(Transfers.store(store, 1, SMALL)).isEqualTo(Outcome.FAILED);
                assertThat(Transfers.load(store, 1, SMALL)).isNull();
                store.forget(Transfers.key(1));
                server.restart();
                assertThat(Transfers.store(store, 1, SMALL)).isEqualTo(Outcome.DONE);
                assertThat(Transfers.load(store, 1, SMALL)).isTrue();
                server.kill();
                assertThat(Transfers.store(store, 2, SMALL)).isEqualTo(Outcome.FAILED);
                server.restart();
                long end = System.nanoTime() + 120_000_000_000L;
                while (Transfers.store(store, 2, SMALL) != Outcome.DONE) {
                    assertThat(System.nanoTime())
                            .as("it connects again by itself")
                            .isLessThan(end);
                }
                assertThat(Transfers.load(store, 1, SMALL))
                        .as("restarted empty")
                        .isNull();
                assertThat(Transfers.load(store, 2, SMALL)).isTrue();
            }
        }
    }

    @Test
    void aServerKilledInTheMiddleOfABatchFailsTheRest() throws Exception {
        int length = 1 << 20;
        try (RedisServer server = RedisServer.start();
                RedisBlockStore store = RedisBlockStore.open(server.uri())) {
            for (int round = 0; round < 3; round++) {
                await(() -> Transfers.store(store, 0, length) == Outcome.DONE);
                Transfers.Result result = new Transfers.Result(32);
                List<ByteBuffer> frames = new ArrayList<>();
                for (int i = 0; i < 32; i++) {
                    frames.add(Transfers.bytes(i, length));
                }
                store.store(new BlockTransfer(Transfers.keys(0, 32), frames, Transfers.soon(), result));
                server.kill();
                assertThat(result.await().outcomes).as("each ends").isSubsetOf(Outcome.DONE, Outcome.FAILED);
                server.restart();
            }
        }
    }

    @Test
    void aFrozenServersCommandsEndAtTheirTimeout() throws Exception {
        try (RedisServer server = RedisServer.start();
                RedisBlockStore store = RedisBlockStore.builder(server.uri())
                        .commandTimeout(Duration.ofMillis(200))
                        .open()) {
            Transfers.store(store, 1, SMALL);
            server.freeze();
            assertThat(Transfers.load(store, 1, SMALL)).isNull();
            assertThat(Transfers.store(store, 2, SMALL)).isEqualTo(Outcome.FAILED);
            server.thaw();
            assertThat(Transfers.load(store, 1, SMALL)).isTrue();
        }
    }

    /** Values go to the socket from their frames, so a frame that is sent in part must not be given back before that has ended. */
    @Test
    void aServerThatFreezesInTheMiddleOfAValueLetsGoOfItsFrame() throws Exception {
        int length = 4 << 20;
        int blocks = 8; // more than the sockets' buffers hold
        try (RedisServer server = RedisServer.start();
                RedisBlockStore store = RedisBlockStore.builder(server.uri())
                        .commandTimeout(Duration.ofMillis(500))
                        .open()) {
            store.prepare(length);
            assertThat(Transfers.store(store, 0, length)).isEqualTo(Outcome.DONE);
            server.freeze();
            List<ByteBuffer> frames = new ArrayList<>();
            for (int i = 1; i <= blocks; i++) {
                frames.add(Transfers.bytes(i, length));
            }
            Transfers.Result result = Transfers.store(store, Transfers.keys(1, blocks + 1), frames);
            assertThat(result.outcomes).containsOnly(Outcome.FAILED);
            frames.forEach(frame -> frame.put(0, new byte[length])); // they hold something else now
            server.thaw();
            await(() -> Transfers.store(store, 0, length) == Outcome.DONE);
            for (int i = 0; i <= blocks; i++) {
                assertThat(Transfers.load(store, i, length)).as("block %d", i).isNotEqualTo(false);
            }
        }
    }

    @Test
    void authenticatesByUri() throws IOException {
        try (RedisServer server = RedisServer.start("--requirepass", "sesame")) {
            String address = "127.0.0.1:" + server.port();
            try (RedisBlockStore store = RedisBlockStore.open("redis://:sesame@" + address)) {
                assertThat(Transfers.store(store, 1, SMALL)).isEqualTo(Outcome.DONE);
            }
            try (RedisBlockStore store = RedisBlockStore.open("redis://:wrong-secret@" + address)) {
                assertThatThrownBy(() -> store.lookup(Transfers.keys(0, 1), Transfers.soon()))
                        .isInstanceOf(IOException.class)
                        .hasMessageContaining("127.0.0.1")
                        .hasMessageNotContaining("wrong-secret");
            }
        }
    }

    @Test
    void aBadAddressIsNotRepeated() {
        assertThatThrownBy(() -> RedisBlockStore.open("redis://user:top%secret@localhost:6379"))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("percent-encoded")
                .hasMessageNotContaining("secret")
                .hasNoCause();
    }

    @Test
    void nobodyIsToldThePasswordOfAServerThatIsDown() throws IOException {
        int port;
        try (ServerSocket unused = new ServerSocket(0)) {
            port = unused.getLocalPort();
        }
        try (RedisBlockStore store = RedisBlockStore.open("redis://user:secret@localhost:" + port)) {
            assertThatThrownBy(() -> store.lookup(Transfers.keys(0, 1), Transfers.soon()))
                    .hasMessageContaining("No connection to")
                    .hasMessageNotContaining("secret");
        }
    }

    /** It is called on the threads that connections need to be made, so it does not make one. */
    @Test
    void forgettingDoesNotConnect() throws IOException {
        try (ServerSocket server = new ServerSocket(0);
                RedisBlockStore store = RedisBlockStore.open("redis://localhost:" + server.getLocalPort())) {
            server.setSoTimeout(100);
            store.forget(Transfers.key(1));
            assertThatThrownBy(server::accept).isInstanceOf(SocketTimeoutException.class);
        }
    }

    /** Who makes a connection holds the link meanwhile, and needs the threads on which these two are called. */
    @Test
    void forgettingAndGivingUpDoNotWaitForWhoConnects() throws Exception {
        try (RedisServer server = RedisServer.start();
                RedisLink link = new RedisLink(List.of(RedisURI.create(server.uri())), false, Duration.ofSeconds(10))) {
            RedisLink.Pipe loads = link.forLoads();
            RedisLink.Pipe stores = link.forStores();
            AtomicReference<RedisLink.Pipe> found = new AtomicReference<>();
            Thread ofConnection = new Thread(() -> {
                found.set(link.forLoadsIfConnected());
                link.abandonStores(stores);
            });
            synchronized (link) {
                ofConnection.start();
                ofConnection.join(20_000);
            }
            assertThat(ofConnection.isAlive()).as("it waits").isFalse();
            assertThat(found.get()).isSameAs(loads);
            assertThat(link.forStores()).isNotSameAs(stores);
        }
    }

    @Test
    void badSettingsAreRefused() {
        assertThatThrownBy(() -> RedisBlockStore.open("http://example.com"))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("redis://[user:password@]host");
        assertThatThrownBy(RedisBlockStore::builder)
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("Give the URI");
        assertThatThrownBy(() -> RedisBlockStore.builder("redis://localhost").timeToLive(Duration.ZERO))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("timeToLive is PT0S");
        RedisBlockStore closed = RedisBlockStore.open("redis://localhost");
        closed.close();
        closed.close();
        assertThatThrownBy(() -> closed.prepare(1))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("closed");
    }
}
