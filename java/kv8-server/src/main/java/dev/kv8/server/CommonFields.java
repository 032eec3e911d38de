package dev.kv8.server;

/** Fields that a completion and a chat treat alike. */
final class CommonFields {
    /** What clients send along for a service's own books; it changes no text here. */
    private static final String[] WITHOUT_EFFECT = {
        "user", "store", "metadata", "service_tier", "safety_identifier", "prompt_cache_key", "parallel_tool_calls"
    };

    private CommonFields() {}

    /** @throws ApiError when the text is asked for in another form than text */
    static void read(JsonFields body) {
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
    }
}
