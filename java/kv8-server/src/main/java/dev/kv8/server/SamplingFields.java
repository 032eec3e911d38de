package dev.kv8.server;

import dev.kv8.llm.SamplingParams;
import java.util.List;

/** The fields that say how tokens are drawn, the same in both endpoints: OpenAI's, and vLLM's where OpenAI has none. */
final class SamplingFields {
    private final JsonFields body;
    private final SamplingParams.Builder params = SamplingParams.builder();

    private SamplingFields(JsonFields body) {
        this.body = body;
    }

    /**
     * Reads all but the number of tokens and of log-probabilities, which the endpoints name differently.
     *
     * @throws ApiError naming the field that is not allowed
     */
    static SamplingFields read(JsonFields body) {
        SamplingFields fields = new SamplingFields(body);
        fields.number("temperature", fields.params::temperature);
        fields.number("top_p", fields.params::topP);
        fields.number("min_p", fields.params::minP);
        fields.number("presence_penalty", fields.params::presencePenalty);
        fields.number("frequency_penalty", fields.params::frequencyPenalty);
        fields.number("repetition_penalty", fields.params::repetitionPenalty);
        body.integer("top_k").ifPresent(k -> fields.set("top_k", () -> fields.params.topK(k == -1 ? 0 : k)));
        body.integer("n").ifPresent(n -> fields.set("n", () -> fields.params.n(n)));
        body.longInteger("seed").ifPresent(seed -> fields.set("seed", () -> fields.params.seed(seed)));
        List<String> stops = body.texts("stop");
        fields.set("stop", () -> fields.params.stop(stops.toArray(String[]::new)));
        int[] stopTokens = body.integers("stop_token_ids");
        fields.set("stop_token_ids", () -> fields.params.stopTokenIds(stopTokens));
        fields.params.ignoreEos(body.isSet("ignore_eos"));
        return fields;
    }

    SamplingFields maxTokens(String field, int tokens) {
        set(field, () -> params.maxTokens(tokens));
        return this;
    }

    SamplingFields logprobs(String field, int alternatives) {
        set(field, () -> params.logprobs(alternatives));
        return this;
    }

    /** @throws ApiError for {@code n}, the only field whose check needs others */
    SamplingParams build() {
        try {
            return params.build();
        } catch (IllegalArgumentException e) {
            throw ApiError.invalid(body.name("n"), String.valueOf(e.getMessage()));
        }
    }

    private void number(String name, DoubleSetter setter) {
        body.number(name).ifPresent(value -> set(name, () -> setter.set(value)));
    }

    /** What the engine's own check says, under the name that the client knows. */
    private void set(String name, Runnable setter) {
        try {
            setter.run();
        } catch (IllegalArgumentException e) {
            throw ApiError.invalid(body.name(name), String.valueOf(e.getMessage()));
        }
    }

    @FunctionalInterface
    private interface DoubleSetter {
        Object set(double value);
    }
}
