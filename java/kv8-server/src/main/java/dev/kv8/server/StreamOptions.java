package dev.kv8.server;

import java.util.Optional;

/** The field {@code stream_options}. */
final class StreamOptions {
    private StreamOptions() {}

    static boolean includeUsage(JsonFields body, boolean stream) {
        Optional<JsonFields> options = body.object("stream_options");
        if (options.isEmpty()) {
            return false;
        }
        if (!stream) {
            throw ApiError.invalid("stream_options", "\"stream_options\" is only allowed when \"stream\" is true.");
        }
        boolean include = options.get().isSet("include_usage");
        options.get().ignore("include_obfuscation");
        options.get().finish();
        return include;
    }
}
