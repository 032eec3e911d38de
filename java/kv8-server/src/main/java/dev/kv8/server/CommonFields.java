package dev.kv8.server;

import java.util.Optional;

/**
 * The fields that a completion and a chat have in common, beside those of {@link SamplingFields}.
 *
 * @param stream whether the answer is sent while it is written
 * @param includeUsage whether a stream ends with the numbers of tokens
 * @param cacheSalt that keeps the request's prefixes from others; empty for none
 */
record CommonFields(boolean stream, boolean includeUsage, String cacheSalt) {
    /** What clients send along for a service's own books; it changes no text here. */
    private static final String[] WITHOUT_EFFECT = {
        "user", "store", "metadata", "service_tier", "safety_identifier", "prompt_cache_key", "parallel_tool_calls"
    };

    /** @throws ApiError when the text is asked for in another form than text, or a field is not what it may be */
    static CommonFields read(JsonFields body) {
        body.object("response_format").ifPresent(format -> {
            format.text("type").filter(type -> !type.equals("text")).ifPresent(type -> {
                throw ApiError.invalid(
                        "response_format.type",
                        "unsupported_parameter",
                        "\"response_format\" is of the type \"" + type + "\"; this server knows \"text\" only.");
            });
            format.finish();
        });
        body.refuse("tools", "functions", "logit_bias");
        body.ignore(WITHOUT_EFFECT);
        boolean stream = body.isSet("stream");
        return new CommonFields(
                stream, includeUsage(body, stream), body.text("cache_salt").orElse(""));
    }

    private static boolean includeUsage(JsonFields body, boolean stream) {
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
