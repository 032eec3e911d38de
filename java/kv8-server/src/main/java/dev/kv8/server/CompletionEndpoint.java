package dev.kv8.server;

import dev.kv8.llm.GenerationRequest;
import dev.kv8.llm.SamplingParams;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalInt;

/** {@code POST /v1/completions}: prompts as texts or as token ids, continued as they are. */
final class CompletionEndpoint implements Endpoint {
    private static final int DEFAULT_TOKENS = 16;
    private static final int MOST_LOGPROBS = 20;
    private static final String PROMPTS = "a string, a list of strings, a list of token ids, or a list of such lists";

    private final ServedModel model;

    CompletionEndpoint(ServedModel model) {
        this.model = model;
    }

    @Override
    public Call read(JsonFields body) {
        model.checkName(body.text("model"));
        List<GenerationRequest.Builder> prompts = prompts(body);
        int tokens = body.integer("max_tokens").orElse(DEFAULT_TOKENS);
        model.checkTokens(body, "max_tokens", tokens);
        SamplingFields sampling = SamplingFields.read(body).maxTokens("max_tokens", tokens);
        OptionalInt logprobs = body.integer("logprobs");
        logprobs.ifPresent(count -> {
            if (count < 0 || count > MOST_LOGPROBS) {
                throw body.wrong("logprobs", count, "0 to " + MOST_LOGPROBS);
            }
            sampling.logprobs("logprobs", count);
        });
        boolean echo = body.isSet("echo");
        if (echo && logprobs.isPresent()) {
            throw ApiError.invalid(
                    "echo", "unsupported_parameter", "\"echo\" with \"logprobs\" is not supported by this server.");
        }
        SamplingParams params = sampling.build();
        model.checkChoices("prompt", prompts.size(), params.n());
        body.integer("best_of").ifPresent(of -> {
            if (of != params.n()) {
                throw body.wrong("best_of", of, "the same as \"n\", which is " + params.n());
            }
        });
        body.refuse("suffix");
        CommonFields common = CommonFields.read(body);
        body.finish();
        List<GenerationRequest> requests = prompts.stream()
                .map(prompt -> prompt.sampling(params)
                        .timeout(model.timeout())
                        .cacheSalt(common.cacheSalt())
                        .build())
                .toList();
        return new Call(
                requests,
                params.n(),
                common.stream(),
                common.includeUsage(),
                "prompt",
                new CompletionFormat(model.name(), logprobs.isPresent(), echoed(echo, requests), params.n()));
    }

    private List<GenerationRequest.Builder> prompts(JsonFields body) {
        Object prompt = body.value("prompt").orElseThrow(() -> body.missing("prompt"));
        List<GenerationRequest.Builder> result = new ArrayList<>();
        if (prompt instanceof String text) {
            result.add(GenerationRequest.builder().prompt(text));
        } else if (prompt instanceof List<?> list && !list.isEmpty()) {
            if (list.get(0) instanceof Integer) {
                result.add(GenerationRequest.builder().promptTokenIds(body.integers("prompt", list)));
            } else {
                for (Object element : list) {
                    result.add(prompt(body, element));
                }
            }
        } else {
            throw body.wrong("prompt", prompt, PROMPTS);
        }
        return result;
    }

    private static GenerationRequest.Builder prompt(JsonFields body, Object element) {
        if (element instanceof String text) {
            return GenerationRequest.builder().prompt(text);
        }
        if (element instanceof List<?> ids) {
            return GenerationRequest.builder().promptTokenIds(body.integers("prompt", ids));
        }
        throw body.wrong("prompt", element, PROMPTS);
    }

    /** What stands before each prompt's texts. */
    private List<String> echoed(boolean echo, List<GenerationRequest> requests) {
        return requests.stream()
                .map(request -> !echo
                        ? ""
                        : request.prompt()
                                .orElseGet(() -> request.promptTokenIds()
                                        .map(ids -> model.llm().tokenizer().decode(ids))
                                        .orElse("")))
                .toList();
    }
}
