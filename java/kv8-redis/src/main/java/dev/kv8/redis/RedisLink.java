package dev.kv8.redis;

import static java.util.Objects.requireNonNull;

import io.lettuce.core.ClientOptions;
import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisException;
import io.lettuce.core.RedisURI;
import io.lettuce.core.SocketOptions;
import io.lettuce.core.TimeoutOptions;
import io.lettuce.core.api.StatefulConnection;
import io.lettuce.core.api.StatefulRedisConnection;
import io.lettuce.core.cluster.ClusterClientOptions;
import io.lettuce.core.cluster.ClusterTopologyRefreshOptions;
import io.lettuce.core.cluster.RedisClusterClient;
import io.lettuce.core.cluster.api.StatefulRedisClusterConnection;
import io.lettuce.core.cluster.api.async.RedisClusterAsyncCommands;
import io.lettuce.core.codec.ByteArrayCodec;
import io.lettuce.core.protocol.CommandEncoder;
import io.lettuce.core.resource.ClientResources;
import io.lettuce.core.resource.DefaultClientResources;
import io.lettuce.core.resource.Delay;
import io.lettuce.core.resource.NettyCustomizer;
import io.netty.channel.AdaptiveRecvByteBufAllocator;
import io.netty.channel.Channel;
import java.io.IOException;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;

/**
 * The connections to a server or a cluster, one for each direction, so that a load does not wait behind megabytes of writes. They are made
 * when first used, because a cache must start without its shared tier too. What is under way when a connection breaks fails and
 * is not sent again: the frame may hold another block by then.
 */
final class RedisLink implements AutoCloseable {
    private static final int IO_THREADS = 2;
    private static final Duration CONNECT_TIMEOUT = Duration.ofSeconds(1);
    private static final Duration HANDSHAKE_TIMEOUT = Duration.ofSeconds(2);
    private static final Duration RECONNECT_DELAY = Duration.ofMillis(250);

    private final List<RedisURI> uris;
    private final ClientResources resources;
    private final @Nullable RedisClient client;
    private final @Nullable RedisClusterClient cluster;
    // Made while this is locked, which takes as long as a connection does; read and given up without that, on the
    // connections' threads.
    private final AtomicReference<@Nullable Pipe> loads = new AtomicReference<>();
    private final AtomicReference<@Nullable Pipe> stores = new AtomicReference<>();
    private boolean closed;

    /** A connection on which the commands of one batch go out together: they may wait for {@link #flush}. */
    record Pipe(StatefulConnection<byte[], byte[]> connection, RedisClusterAsyncCommands<byte[], byte[]> commands) {
        void flush() {
            connection.flushCommands();
        }

        /** A server's connection is made anew by its next user; those to a cluster's nodes come back by themselves. */
        boolean isBroken() {
            return !(connection instanceof StatefulRedisClusterConnection) && !connection.isOpen();
        }
    }

    /** Values are large: they are read a quarter of a MiB at once, and more while they keep coming; and written from their frames. */
    private static final class LargeValues implements NettyCustomizer {
        @Override
        public void afterChannelInitialized(Channel channel) {
            channel.config().setRecvByteBufAllocator(new AdaptiveRecvByteBufAllocator(1 << 16, 1 << 18, 1 << 20));
            String encoder = channel.pipeline().context(CommandEncoder.class).name();
            channel.pipeline().addAfter(encoder, "kv8-values", new ValueWriter());
        }
    }

    RedisLink(List<RedisURI> uris, boolean isCluster, Duration commandTimeout) {
        this.uris = uris;
        // A server that accepts and does not answer holds up a transfer's thread for as long.
        Duration handshake = commandTimeout.compareTo(HANDSHAKE_TIMEOUT) < 0 ? commandTimeout : HANDSHAKE_TIMEOUT;
        uris.forEach(uri -> uri.setTimeout(handshake));
        resources = DefaultClientResources.builder()
                .ioThreadPoolSize(IO_THREADS)
                .computationThreadPoolSize(IO_THREADS)
                .reconnectDelay(Delay.constant(RECONNECT_DELAY))
                .nettyCustomizer(new LargeValues())
                .build();
        if (isCluster) {
            client = null;
            cluster = RedisClusterClient.create(resources, uris);
            cluster.setOptions((ClusterClientOptions) options(
                    ClusterClientOptions.builder()
                            .topologyRefreshOptions(ClusterTopologyRefreshOptions.builder()
                                    .enablePeriodicRefresh()
                                    .build()),
                    commandTimeout));
        } else {
            cluster = null;
            client = RedisClient.create(resources, uris.get(0));
            client.setOptions(options(
                    ClientOptions.builder()
                            .autoReconnect(false)
                            .disconnectedBehavior(ClientOptions.DisconnectedBehavior.REJECT_COMMANDS),
                    commandTimeout));
        }
    }

    private static ClientOptions options(ClientOptions.Builder builder, Duration commandTimeout) {
        return builder.replayFilter(command -> true)
                .socketOptions(SocketOptions.builder()
                        .connectTimeout(CONNECT_TIMEOUT)
                        .tcpNoDelay(true)
                        .build())
                .timeoutOptions(TimeoutOptions.enabled(commandTimeout))
                .build();
    }

    Pipe forLoads() throws IOException {
        return connected(loads);
    }

    Pipe forStores() throws IOException {
        return connected(stores);
    }

    private synchronized Pipe connected(AtomicReference<@Nullable Pipe> direction) throws IOException {
        Pipe known = direction.get();
        if (known == null || known.isBroken()) {
            known = connect(known);
            direction.set(known);
        }
        return known;
    }

    /** The connection for loads if there is one now. Never waits: for the connections' own threads too, without which none can be made. */
    @Nullable
    Pipe forLoadsIfConnected() {
        Pipe known = loads.get();
        return known == null || known.isBroken() ? null : known;
    }

    /**
     * Ends a connection that doesn't take what it is given, so that it lets go of that; the next store makes a new one. Never waits, as
     * {@link #forLoadsIfConnected}.
     */
    void abandonStores(Pipe pipe) {
        stores.compareAndSet(pipe, null);
        var unused = pipe.connection().closeAsync();
    }

    private Pipe connect(@Nullable Pipe broken) throws IOException {
        if (broken != null) {
            var unused = broken.connection().closeAsync();
        }
        if (closed) {
            throw new IOException("This tier has been closed.");
        }
        try {
            StatefulConnection<byte[], byte[]> connection = cluster != null
                    ? cluster.connect(ByteArrayCodec.INSTANCE)
                    : requireNonNull(client).connect(ByteArrayCodec.INSTANCE);
            // A cluster's node may be connected to only after a flush, which its commands would then miss.
            connection.setAutoFlushCommands(cluster != null);
            return new Pipe(connection, commands(connection));
        } catch (RedisException e) {
            throw new IOException("No connection to " + uris + ": " + e.getMessage(), e);
        }
    }

    private static RedisClusterAsyncCommands<byte[], byte[]> commands(StatefulConnection<byte[], byte[]> connection) {
        if (connection instanceof StatefulRedisClusterConnection<byte[], byte[]> toCluster) {
            return toCluster.async();
        }
        return ((StatefulRedisConnection<byte[], byte[]>) connection).async();
    }

    @Override
    public void close() {
        synchronized (this) {
            if (closed) {
                return;
            }
            closed = true;
        }
        if (cluster != null) {
            cluster.shutdown(Duration.ZERO, Duration.ofSeconds(2));
        }
        if (client != null) {
            client.shutdown(Duration.ZERO, Duration.ofSeconds(2));
        }
        resources.shutdown(0, 2, TimeUnit.SECONDS).awaitUninterruptibly(2, TimeUnit.SECONDS);
    }
}
