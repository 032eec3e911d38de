package dev.kv8.server;

import java.time.Duration;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/**
 * Where a server listens, whom it answers, and how much it takes. Immutable; the defaults are for one's own machine: loopback, no CORS,
 * no API key.
 */
public final class ServerConfig {
    private final String host;
    private final int port;
    private final String modelName;
    private final @Nullable String apiKey;
    private final List<String> corsOrigins;
    private final int maxBodyBytes;
    private final int maxRequests;
    private final int maxConnections;
    private final int maxChoices;
    private final int maxTokens;
    private final Duration requestTimeout;
    private final Duration bodyTimeout;
    private final Duration drainTimeout;

    private ServerConfig(Builder builder) {
        host = builder.host;
        port = builder.port;
        modelName = builder.modelName;
        apiKey = builder.apiKey;
        corsOrigins = builder.corsOrigins;
        maxBodyBytes = builder.maxBodyBytes;
        maxRequests = builder.maxRequests;
        maxConnections = builder.maxConnections;
        maxChoices = builder.maxChoices;
        maxTokens = builder.maxTokens;
        requestTimeout = builder.requestTimeout;
        bodyTimeout = builder.bodyTimeout;
        drainTimeout = builder.drainTimeout;
    }

    public static Builder builder() {
        return new Builder();
    }

    public String host() {
        return host;
    }

    public int port() {
        return port;
    }

    public String modelName() {
        return modelName;
    }

    public Optional<String> apiKey() {
        return Optional.ofNullable(apiKey);
    }

    public List<String> corsOrigins() {
        return corsOrigins;
    }

    public int maxBodyBytes() {
        return maxBodyBytes;
    }

    public int maxRequests() {
        return maxRequests;
    }

    public int maxConnections() {
        return maxConnections;
    }

    public int maxChoices() {
        return maxChoices;
    }

    public int maxTokens() {
        return maxTokens;
    }

    public Duration requestTimeout() {
        return requestTimeout;
    }

    public Duration bodyTimeout() {
        return bodyTimeout;
    }

    public Duration drainTimeout() {
        return drainTimeout;
    }

    /** Each setter refuses a value out of range with {@link IllegalArgumentException}. */
    public static final class Builder {
        private String host = "127.0.0.1";
        private int port = 8000;
        private String modelName = "kv8";
        private @Nullable String apiKey;
        private List<String> corsOrigins = List.of();
        private int maxBodyBytes = 4 << 20;
        private int maxRequests = 512;
        private int maxConnections = 1024;
        private int maxChoices = 128;
        private int maxTokens = Integer.MAX_VALUE;
        private Duration requestTimeout = Duration.ofMinutes(10);
        private Duration bodyTimeout = Duration.ofSeconds(30);
        private Duration drainTimeout = Duration.ofSeconds(30);

        private Builder() {}

        /** The address to listen on; 127.0.0.1 by default, which other machines cannot reach. */
        public Builder host(String address) {
            if (address.isBlank()) {
                throw new IllegalArgumentException("The host is empty; give an address, such as 127.0.0.1.");
            }
            host = address;
            return this;
        }

        /** The port to listen on; 8000 by default, 0 for any free one. */
        public Builder port(int number) {
            port = inRange("port", number, 0, 65_535);
            return this;
        }

        /** What clients call the model. */
        public Builder modelName(String name) {
            if (name.isBlank()) {
                throw new IllegalArgumentException("The model's name is empty; give what clients are to call it.");
            }
            modelName = name;
            return this;
        }

        /** What clients must send as a bearer token; without one everybody who reaches the port is answered. */
        public Builder apiKey(String key) {
            if (key.isBlank() || !key.chars().allMatch(c -> c > ' ' && c < 127)) {
                throw new IllegalArgumentException(
                        "The API key is empty or has characters that a header cannot carry; give visible ASCII without spaces.");
            }
            apiKey = key;
            return this;
        }

        /** Origins whose pages may read answers, such as {@code https://chat.example.com}; "*" for all. None by default. */
        public Builder corsOrigins(List<String> origins) {
            corsOrigins = List.copyOf(origins);
            return this;
        }

        /** Bytes of a request's body; 4 MiB by default. Times {@link #maxRequests}, this bounds the memory that bodies take. */
        public Builder maxBodyBytes(int bytes) {
            maxBodyBytes = inRange("maxBodyBytes", bytes, 1, Integer.MAX_VALUE);
            return this;
        }

        /** Requests that are answered at the same time, waiting ones included; 512 by default. More get status 429. */
        public Builder maxRequests(int requests) {
            maxRequests = inRange("maxRequests", requests, 1, 100_000);
            return this;
        }

        /** Connections that are open at the same time; 1024 by default. More are closed at once. */
        public Builder maxConnections(int connections) {
            maxConnections = inRange("maxConnections", connections, 1, 100_000);
            return this;
        }

        /** Texts that one request may ask for: its prompts times {@code n}; 128 by default. */
        public Builder maxChoices(int texts) {
            maxChoices = inRange("maxChoices", texts, 1, 100_000);
            return this;
        }

        /** Tokens that one text may have; by default as many as the model can. */
        public Builder maxTokens(int tokens) {
            maxTokens = inRange("maxTokens", tokens, 1, Integer.MAX_VALUE);
            return this;
        }

        /** How long a request may take, waiting included, before it gets status 504; 10 minutes by default. */
        public Builder requestTimeout(Duration time) {
            requestTimeout = positive("requestTimeout", time);
            return this;
        }

        /** How long a body may take to arrive before it gets status 408; 30 seconds by default. */
        public Builder bodyTimeout(Duration time) {
            bodyTimeout = positive("bodyTimeout", time);
            return this;
        }

        /** How long {@link LlmServer#close} lets running requests go on; 30 seconds by default. */
        public Builder drainTimeout(Duration time) {
            drainTimeout = positive("drainTimeout", time);
            return this;
        }

        public ServerConfig build() {
            return new ServerConfig(this);
        }

        private static int inRange(String name, int value, int least, int most) {
            if (value < least || value > most) {
                throw new IllegalArgumentException(
                        name + " is " + value + "; it must be " + least + " to " + most + ".");
            }
            return value;
        }

        private static Duration positive(String name, Duration time) {
            if (time.compareTo(Duration.ofMillis(1)) < 0 || time.compareTo(Duration.ofDays(30)) > 0) {
                throw new IllegalArgumentException(name + " is " + time + "; it must be 1 ms to 30 days.");
            }
            return time;
        }
    }
}
