package dev.kv8.redis;

import dev.kv8.BlockKey;
import dev.kv8.BlockStore;
import dev.kv8.BlockTransfer;
import io.lettuce.core.RedisFuture;
import io.lettuce.core.RedisURI;
import io.lettuce.core.codec.ByteArrayCodec;
import io.lettuce.core.output.CommandOutput;
import io.lettuce.core.output.StatusOutput;
import io.lettuce.core.protocol.CommandArgs;
import io.lettuce.core.protocol.CommandType;
import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.jspecify.annotations.Nullable;

/**
 * The tier that several machines share, on Valkey or Redis, a single server or a cluster.
 *
 * <pre>{@code
 * BlockStore shared = RedisBlockStore.open("rediss://user:password@cache.example.com:6379");
 * KvCacheConfig.builder()...modelId(digestOfWeights).tiers(Tiers.of(host, shared))
 * }</pre>
 *
 * <p>A block is one value, {@code kv8:1:{<key>}}, or for more than 4 MiB several with that hash tag; it expires after a time that every
 * use renews, by GETEX: Redis 6.2 or later, or any Valkey. Commands are pipelined, some MiB at once. A server that is down, slow, full
 * or restarted empty costs a cache nothing but hits: nothing waits for it beyond {@link dev.kv8.Tiers#loadDeadline}. Give the server a
 * {@code maxmemory} and an eviction policy; without one it refuses blocks when it is full, which is counted. For any thread.
 */
public final class RedisBlockStore implements BlockStore {
    private static final int TRANSFER_BYTES = 4 << 20;
    private static final int LOOKUPS_AT_ONCE = 128;
    /** Values are sent as soon as there are so many bytes: the server takes them in while the next commands are made. */
    private static final int FLUSHED_BYTES = 256 << 10;

    private final RedisLink link;
    private final Duration timeToLive;
    private volatile boolean closed;

    private RedisBlockStore(Builder builder) {
        link = new RedisLink(builder.uris, builder.cluster, builder.commandTimeout);
        timeToLive = builder.timeToLive;
    }

    /** One server with default settings; see {@link #builder}. Connects when it is first used. */
    public static RedisBlockStore open(String uri) {
        return builder(uri).open();
    }

    /**
     * @param uris of the server, or of one or more nodes of a cluster: {@code redis://[user:password@]host[:port][/database]}, {@code
     *     rediss://} for TLS
     * @throws IllegalArgumentException when one is none
     */
    public static Builder builder(String... uris) {
        return new Builder(uris);
    }

    /** Not for use by several threads. */
    public static final class Builder {
        private final List<RedisURI> uris = new ArrayList<>();
        private boolean cluster;
        private Duration timeToLive = Duration.ofMinutes(30);
        private Duration commandTimeout = Duration.ofSeconds(10);

        private Builder(String... given) {
            if (given.length == 0) {
                throw new IllegalArgumentException("Give the URI of a server, or of nodes of a cluster.");
            }
            for (String uri : given) {
                uris.add(parse(uri));
            }
            cluster = given.length > 1;
        }

        private static RedisURI parse(String uri) {
            try {
                return RedisURI.create(uri);
            } catch (IllegalArgumentException e) {
                // What was given may have a password in it, and so may the message of e.
                throw new IllegalArgumentException(
                        "The address of a Redis tier is redis://[user:password@]host[:port][/database], or rediss://... for"
                                + " TLS; what was given is not. Other characters than letters, digits and -._~ in a user name or"
                                + " password have to be percent-encoded.");
            }
        }

        /** Whether the servers are nodes of a cluster, whose other nodes are found by themselves. Assumed when several are given. */
        public Builder cluster(boolean nodes) {
            cluster = nodes;
            return this;
        }

        /** How long a block stays without being used; 30 minutes by default. */
        public Builder timeToLive(Duration time) {
            timeToLive = positive("timeToLive", time);
            return this;
        }

        /** When a command that was not answered fails, which frees its buffer; 10 s by default. A load does not wait that long. */
        public Builder commandTimeout(Duration time) {
            commandTimeout = positive("commandTimeout", time);
            return this;
        }

        private static Duration positive(String name, Duration given) {
            if (given.compareTo(Duration.ofMillis(1)) < 0 || given.compareTo(Duration.ofDays(365)) > 0) {
                throw new IllegalArgumentException(name + " is " + given + "; give a millisecond to a year.");
            }
            return given;
        }

        /** Connects when the tier is first used, so it does not fail when the server is down. */
        public RedisBlockStore open() {
            return new RedisBlockStore(this);
        }
    }

    @Override
    public String name() {
        return "redis";
    }

    @Override
    public void prepare(int frameBytes) {
        if (closed) {
            throw new IllegalStateException("This Redis tier has been closed.");
        }
    }

    @Override
    public int transferBytes() {
        return TRANSFER_BYTES;
    }

    @Override
    public int lookup(List<BlockKey> keys, long deadlineNanos) throws IOException {
        RedisLink.Pipe pipe = link.forLoads();
        int found = 0;
        while (found < keys.size()) {
            int asked = Math.min(LOOKUPS_AT_ONCE, keys.size() - found);
            List<RedisFuture<Long>> answers = new ArrayList<>(asked);
            for (BlockKey key : keys.subList(found, found + asked)) {
                answers.add(pipe.commands().exists(FramePart.key(key, 0)));
            }
            pipe.flush();
            for (RedisFuture<Long> answer : answers) {
                if (await(answer, deadlineNanos) == 0) {
                    return found;
                }
                found++;
            }
        }
        return found;
    }

    @Override
    public BitSet present(List<BlockKey> keys, long deadlineNanos) throws IOException {
        RedisLink.Pipe pipe = link.forLoads();
        List<RedisFuture<Long>> answers = new ArrayList<>(keys.size());
        for (BlockKey key : keys) {
            answers.add(pipe.commands().exists(FramePart.key(key, 0)));
            if (answers.size() % LOOKUPS_AT_ONCE == 0) {
                pipe.flush();
            }
        }
        pipe.flush();
        BitSet present = new BitSet();
        for (int i = 0; i < answers.size(); i++) {
            present.set(i, await(answers.get(i), deadlineNanos) != 0);
        }
        return present;
    }

    private static long await(RedisFuture<Long> answer, long deadlineNanos) throws IOException {
        try {
            return answer.get(deadlineNanos - System.nanoTime(), TimeUnit.NANOSECONDS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IOException("interrupted", e);
        } catch (ExecutionException | TimeoutException e) {
            throw new IOException("no answer to EXISTS: " + e, e);
        }
    }

    // ---- loads

    @Override
    public void load(BlockTransfer transfer) {
        RedisLink.Pipe pipe;
        try {
            pipe = link.forLoads();
        } catch (IOException | RuntimeException e) {
            transfer.failRest(e);
            return;
        }
        for (int i = 0; i < transfer.size(); i++) {
            load(transfer, i, pipe);
        }
        pipe.flush();
    }

    private void load(BlockTransfer transfer, int index, RedisLink.Pipe pipe) {
        List<FramePart> parts = FramePart.of(transfer.key(index), transfer.frame(index));
        List<GetPart> outputs = new ArrayList<>(parts.size());
        List<CompletableFuture<Integer>> answers = new ArrayList<>(parts.size());
        for (FramePart part : parts) {
            GetPart output = new GetPart(part);
            outputs.add(output);
            // One command instead of GET and PEXPIRE: of small values the server would else execute twice as many.
            CommandArgs<byte[], byte[]> arguments = new CommandArgs<>(ByteArrayCodec.INSTANCE)
                    .addKey(part.key())
                    .add("PX")
                    .add(timeToLive.toMillis());
            answers.add(dispatch(pipe, CommandType.GETEX, output, arguments));
        }
        var unused = all(answers).whenComplete((done, failure) -> {
            outputs.forEach(GetPart::retire);
            int bytes = 0;
            for (CompletableFuture<Integer> answer : answers) {
                int part = answer.isDone() && !answer.isCompletedExceptionally() ? answer.join() : GetPart.ABSENT;
                bytes = part == GetPart.ABSENT || bytes == GetPart.ABSENT ? GetPart.ABSENT : bytes + part;
            }
            if (failure != null) {
                transfer.failed(index, cause(failure));
            } else if (bytes == GetPart.ABSENT) {
                transfer.absent(index);
            } else {
                transfer.done(index, bytes);
            }
        });
    }

    /** A command that can't even be sent fails like one that was: the others' buffers stay in use until their own answers. */
    private static <T> CompletableFuture<T> dispatch(
            RedisLink.Pipe pipe,
            CommandType type,
            CommandOutput<byte[], byte[], T> output,
            CommandArgs<byte[], byte[]> arguments) {
        try {
            return pipe.commands().dispatch(type, output, arguments).toCompletableFuture();
        } catch (RuntimeException e) {
            return CompletableFuture.failedFuture(e);
        }
    }

    private static CompletableFuture<Void> all(List<? extends CompletableFuture<?>> answers) {
        return CompletableFuture.allOf(answers.toArray(CompletableFuture[]::new));
    }

    private static @Nullable Throwable cause(Throwable failure) {
        return failure instanceof CompletionException ? failure.getCause() : failure;
    }

    // ---- stores

    @Override
    public void store(BlockTransfer transfer) {
        RedisLink.Pipe pipe;
        try {
            pipe = link.forStores();
        } catch (IOException | RuntimeException e) {
            transfer.failRest(e);
            return;
        }
        int unsent = 0;
        for (int i = 0; i < transfer.size(); i++) {
            unsent += transfer.frame(i).remaining();
            store(transfer, i, pipe);
            if (unsent >= FLUSHED_BYTES) {
                pipe.flush();
                unsent = 0;
            }
        }
        pipe.flush();
    }

    private void store(BlockTransfer transfer, int index, RedisLink.Pipe pipe) {
        int bytes = transfer.frame(index).remaining();
        List<SetPart> sent = new ArrayList<>();
        List<CompletableFuture<String>> answers = new ArrayList<>();
        for (FramePart part : FramePart.of(transfer.key(index), transfer.frame(index))) {
            SetPart arguments = new SetPart(part, timeToLive);
            sent.add(arguments);
            answers.add(dispatch(pipe, CommandType.SET, new StatusOutput<>(ByteArrayCodec.INSTANCE), arguments));
        }
        var unused = all(answers).whenComplete((done, failure) -> {
            CompletableFuture<Void> untouched =
                    all(sent.stream().map(SetPart::retire).toList());
            if (!untouched.isDone()) { // timed out in the middle of a value
                link.abandonStores(pipe);
            }
            var unusedEnd = untouched.thenRun(() -> {
                Throwable cause = failure == null ? null : cause(failure);
                if (failure == null) {
                    transfer.done(index, bytes);
                } else if (cause != null && isFull(cause)) {
                    transfer.refused(index);
                } else {
                    transfer.failed(index, cause);
                }
            });
        });
    }

    /** The server is at its maxmemory and evicts nothing. */
    private static boolean isFull(Throwable cause) {
        return String.valueOf(cause.getMessage()).startsWith("OOM");
    }

    /** Comes on the connection's own thread, right after the answer that was no good, so that it must not wait for one. */
    @Override
    public void forget(BlockKey key) {
        RedisLink.Pipe pipe = link.forLoadsIfConnected();
        if (pipe == null) {
            return; // It expires by itself, or the next write replaces it.
        }
        try {
            var unused = pipe.commands().unlink(FramePart.key(key, 0));
            pipe.flush();
        } catch (RuntimeException e) {
            // broken or closed meanwhile: the same
        }
    }

    /** What the server has stays there. */
    @Override
    public void close() {
        closed = true;
        link.close();
    }
}
