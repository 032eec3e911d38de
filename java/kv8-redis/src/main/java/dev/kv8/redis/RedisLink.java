package dev.kv8.redis;

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
import io.lettuce.core.resource.ClientResources;
import io.lettuce.core.resource.DefaultClientResources;
import io.lettuce.core.resource.Delay;
import java.io.IOException;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/**
 * The connections to a server or a cluster, one for each direction, so that a load does not wait behind megabytes of writes. They are made
 * when first used, because a cache must start without its shared tier too. What is under way when a connection breaks fails and
 * is not sent again: the frame may hold another block by then.
 */
final class RedisLink implements AutoCloseable {
    private static final int IO_THREADS = 2;
    private static final Duration CONNECT_TIMEOUT = Duration.ofSeconds(1);
    private static final Duration RECONNECT_DELAY = Duration.ofMillis(250);

    private final List<RedisURI> uris;
    private final ClientResources resources;
    private final @Nullable RedisClient client;
    private final @Nullable RedisClusterClient cluster;
    private @Nullable StatefulConnection<byte[], byte[]> loads;
    private @Nullable StatefulConnection<byte[], byte[]> stores;
    private boolean closed;

    RedisLink(List<RedisURI> uris, boolean isCluster, Duration commandTimeout) {
        this.uris = uris;
        resources = DefaultClientResources.builder()
                .ioThreadPoolSize(IO_THREADS)
                .computationThreadPoolSize(IO_THREADS)
                .reconnectDelay(Delay.constant(RECONNECT_DELAY))
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
            client.setOptions(options(ClientOptions.builder(), commandTimeout));
        }
    }

    private static ClientOptions options(ClientOptions.Builder builder, Duration commandTimeout) {
        return builder.disconnectedBehavior(ClientOptions.DisconnectedBehavior.REJECT_COMMANDS)
                .replayFilter(command -> true)
                .socketOptions(SocketOptions.builder()
                        .connectTimeout(CONNECT_TIMEOUT)
                        .tcpNoDelay(true)
                        .build())
                .timeoutOptions(TimeoutOptions.enabled(commandTimeout))
                .build();
    }

    RedisClusterAsyncCommands<byte[], byte[]> forLoads() throws IOException {
        synchronized (this) {
            if (loads == null) {
                loads = connect();
            }
            return commands(loads);
        }
    }

    RedisClusterAsyncCommands<byte[], byte[]> forStores() throws IOException {
        synchronized (this) {
            if (stores == null) {
                stores = connect();
            }
            return commands(stores);
        }
    }

    private StatefulConnection<byte[], byte[]> connect() throws IOException {
        if (closed) {
            throw new IOException("This tier has been closed.");
        }
        try {
            if (cluster != null) {
                return cluster.connect(ByteArrayCodec.INSTANCE);
            }
            if (client != null) {
                return client.connect(ByteArrayCodec.INSTANCE);
            }
            throw new IllegalStateException("neither a server nor a cluster");
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
        resources.shutdown(0, 2, TimeUnit.SECONDS);
    }
}
