package dev.kv8.server;

import dev.kv8.llm.ChatMessage;
import dev.kv8.llm.GenerationRequest;
import dev.kv8.llm.SamplingParams;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalInt;

/** {@code POST /v1/chat/completions}: a conversation, which the checkpoint's template makes a prompt of. */
final class ChatEndpoint implements Endpoint {
    private static final int MOST_TOP_LOGPROBS = 20;

    private final ServedModel model;

    ChatEndpoint(ServedModel model) {
        this.model = model;
    }

    @Override
    public Call read(JsonFields body) {
        model.checkName(body.text("model"));
        List<ChatMessage> messages = messages(body);
        SamplingFields sampling = SamplingFields.read(body);
        maxTokens(body, sampling);
        boolean logprobs = body.isSet("logprobs");
        OptionalInt top = body.integer("top_logprobs");
        if (top.isPresent() && !logprobs) {
            throw ApiError.invalid("top_logprobs", "\"top_logprobs\" is only allowed when \"logprobs\" is true.");
        }
        if (logprobs) {
            int count = top.orElse(0);
            if (count < 0 || count > MOST_TOP_LOGPROBS) {
                throw body.wrong("top_logprobs", count, "0 to " + MOST_TOP_LOGPROBS);
            }
            sampling.logprobs("top_logprobs", count);
        }
        SamplingParams params = sampling.build();
        model.checkChoices("n", 1, params.n());
        refuseWhatIsNotText(body);
        CommonFields common = CommonFields.read(body);
        body.finish();
        GenerationRequest request = GenerationRequest.builder()
                .messages(messages)
                .sampling(params)
                .timeout(model.timeout())
                .cacheSalt(common.cacheSalt())
                .build();
        return new Call(
                List.of(request),
                params.n(),
                common.stream(),
                common.includeUsage(),
                "messages",
                new ChatFormat(model.name(), logprobs, params.n()));
    }

    private void maxTokens(JsonFields body, SamplingFields sampling) {
        OptionalInt old = body.integer("max_tokens");
        OptionalInt tokens = body.integer("max_completion_tokens");
        String field = tokens.isPresent() ? "max_completion_tokens" : "max_tokens";
        int count = tokens.orElse(old.orElse(model.mostTokens()));
        model.checkTokens(body, field, count);
        sampling.maxTokens(field, count);
    }

    private static void refuseWhatIsNotText(JsonFields body) {
        for (String modality : body.texts("modalities")) {
            if (!modality.equals("text")) {
                throw body.wrong("modalities", modality, "\"text\"");
            }
        }
        body.text("tool_choice")
                .filter(choice -> !choice.equals("none") && !choice.equals("auto"))
                .ifPresent(choice -> {
                    throw body.wrong("tool_choice", choice, "\"none\" or \"auto\", since there are no tools");
                });
        body.refuse("audio", "prediction", "web_search_options");
    }

    private static List<ChatMessage> messages(JsonFields body) {
        List<ChatMessage> result = new ArrayList<>();
        for (JsonFields message : body.objects("messages")) {
            String role = message.text("role").orElseThrow(() -> message.missing("role"));
            message.refuse("tool_calls", "function_call", "audio", "tool_call_id");
            message.ignore("name", "refusal", "annotations");
            // OpenAI's newer word for the same; templates know the older one.
            result.add(new ChatMessage(role.equals("developer") ? "system" : role, content(message)));
            message.finish();
        }
        if (result.isEmpty()) {
            throw body.missing("messages");
        }
        return result;
    }

    /** A string, or parts that are joined. */
    private static String content(JsonFields message) {
        Object content = message.value("content").orElseThrow(() -> message.missing("content"));
        if (content instanceof String text) {
            return text;
        }
        StringBuilder joined = new StringBuilder();
        for (JsonFields part : message.objects("content")) {
            String type = part.text("type").orElseThrow(() -> part.missing("type"));
            if (!type.equals("text")) {
                throw ApiError.invalid(
                        part.name("type"),
                        "unsupported_parameter",
                        "A part of a message is of the type \"" + type + "\"; this server knows \"text\" only.");
            }
            joined.append(part.text("text").orElseThrow(() -> part.missing("text")));
            part.finish();
        }
        return joined.toString();
    }
}
