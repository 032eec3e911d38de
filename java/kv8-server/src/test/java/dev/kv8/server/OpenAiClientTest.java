package dev.kv8.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.openai.client.OpenAIClient;
import com.openai.client.okhttp.OpenAIOkHttpClient;
import com.openai.core.http.StreamResponse;
import com.openai.errors.BadRequestException;
import com.openai.errors.NotFoundException;
import com.openai.models.chat.completions.ChatCompletion;
import com.openai.models.chat.completions.ChatCompletionChunk;
import com.openai.models.chat.completions.ChatCompletionCreateParams;
import com.openai.models.chat.completions.ChatCompletionStreamOptions;
import com.openai.models.completions.Completion;
import com.openai.models.completions.CompletionCreateParams;
import com.openai.models.models.Model;
import dev.kv8.llm.SamplingParams;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** OpenAI's own client library gets what it expects. */
class OpenAiClientTest {
    private static final String PROMPT = "In the beginning God created";

    private static TinyServer tiny;
    private static OpenAIClient client;

    @BeforeAll
    static void start() {
        tiny = TinyServer.start();
        client = OpenAIOkHttpClient.builder()
                .baseUrl(tiny.uri("/v1").toString())
                .apiKey("none")
                .maxRetries(0)
                .build();
    }

    @AfterAll
    static void stop() {
        client.close();
        tiny.close();
    }

    private static CompletionCreateParams.Builder completion() {
        return CompletionCreateParams.builder()
                .model(TinyServer.MODEL)
                .prompt(PROMPT)
                .maxTokens(24)
                .temperature(0);
    }

    private static ChatCompletionCreateParams.Builder chat() {
        return ChatCompletionCreateParams.builder()
                .model(TinyServer.MODEL)
                .addSystemMessage("Speak as the prophets do.")
                .addUserMessage("Who made the heaven?")
                .maxCompletionTokens(24)
                .temperature(0);
    }

    @Test
    void completionIsWhatTheEngineWrites() {
        String written =
                tiny.llm.generate(PROMPT, SamplingParams.greedy(24)).get(0).text();
        Completion completion = client.completions().create(completion().build());
        assertThat(completion.choices()).hasSize(1);
        assertThat(completion.choices().get(0).text()).isEqualTo(written);
        assertThat(completion.choices().get(0).finishReason().asString()).isEqualTo("length");
        assertThat(completion.usage().orElseThrow().completionTokens()).isEqualTo(24);
        assertThat(completion.usage().orElseThrow().promptTokens())
                .isEqualTo(tiny.llm.tokenizer().encode(PROMPT).length);
    }

    @Test
    void streamedCompletionSaysTheSame() {
        String whole = client.completions()
                .create(completion().build())
                .choices()
                .get(0)
                .text();
        StringBuilder streamed = new StringBuilder();
        try (StreamResponse<Completion> stream =
                client.completions().createStreaming(completion().build())) {
            stream.stream()
                    .forEach(event -> streamed.append(event.choices().get(0).text()));
        }
        assertThat(streamed.toString()).isEqualTo(whole);
    }

    @Test
    void eachOfSeveralPromptsHasItsChoices() {
        Completion completion = client.completions()
                .create(completion()
                        .promptOfArrayOfStrings(List.of(PROMPT, "And it came to pass"))
                        .n(2)
                        .temperature(1)
                        .seed(7)
                        .build());
        assertThat(completion.choices()).hasSize(4);
        assertThat(completion.choices().stream().map(choice -> choice.index())).containsExactly(0L, 1L, 2L, 3L);
    }

    @Test
    void logprobsBelongToTheTokensOfTheText() {
        Completion completion = client.completions()
                .create(completion().maxTokens(6).logprobs(3).build());
        var logprobs = completion.choices().get(0).logprobs().orElseThrow();
        List<String> tokens = logprobs.tokens().orElseThrow();
        assertThat(tokens).hasSize(6);
        assertThat(logprobs.tokenLogprobs().orElseThrow())
                .hasSize(6)
                .allSatisfy(logprob -> assertThat(logprob).isNotPositive());
        assertThat(logprobs.textOffset().orElseThrow()).hasSize(6).isSorted();
        assertThat(logprobs.topLogprobs().orElseThrow()).hasSize(6);
    }

    @Test
    void chatAnswersThroughTheTemplate() {
        ChatCompletion answer = client.chat().completions().create(chat().build());
        var choice = answer.choices().get(0);
        assertThat(choice.message().content().orElseThrow()).isNotBlank();
        assertThat(choice.finishReason().asString()).isEqualTo("length");
        String prompt = "system: Speak as the prophets do.\nuser: Who made the heaven?\nassistant:";
        assertThat(choice.message().content().orElseThrow())
                .isEqualTo(tiny.llm
                        .generate(prompt, SamplingParams.greedy(24))
                        .get(0)
                        .text());
        assertThat(answer.usage().orElseThrow().totalTokens())
                .isEqualTo(answer.usage().orElseThrow().promptTokens() + 24);
    }

    @Test
    void streamedChatSaysTheSameAndEndsWithItsUsage() {
        ChatCompletion whole = client.chat().completions().create(chat().build());
        StringBuilder text = new StringBuilder();
        List<ChatCompletionChunk> chunks;
        try (StreamResponse<ChatCompletionChunk> stream = client.chat()
                .completions()
                .createStreaming(chat().streamOptions(ChatCompletionStreamOptions.builder()
                                .includeUsage(true)
                                .build())
                        .build())) {
            chunks = stream.stream().toList();
        }
        for (ChatCompletionChunk chunk : chunks) {
            chunk.choices().forEach(choice -> choice.delta().content().ifPresent(text::append));
        }
        assertThat(text.toString())
                .isEqualTo(whole.choices().get(0).message().content().orElseThrow());
        assertThat(chunks.get(0).choices().get(0).delta().role().orElseThrow().asString())
                .isEqualTo("assistant");
        ChatCompletionChunk last = chunks.get(chunks.size() - 1);
        assertThat(last.choices()).isEmpty();
        assertThat(last.usage().orElseThrow().completionTokens()).isEqualTo(24);
    }

    @Test
    void chatLogprobsNameEachTokenWithItsAlternatives() {
        ChatCompletion answer = client.chat()
                .completions()
                .create(chat().logprobs(true)
                        .topLogprobs(2)
                        .maxCompletionTokens(5)
                        .build());
        var content = answer.choices().get(0).logprobs().orElseThrow().content().orElseThrow();
        assertThat(content).hasSize(5).allSatisfy(token -> {
            assertThat(token.logprob()).isNotPositive();
            assertThat(token.topLogprobs()).hasSize(2);
            assertThat(token.topLogprobs().get(0).logprob()).isGreaterThanOrEqualTo(token.logprob());
        });
    }

    @Test
    void modelsAreListedAndFoundByName() {
        assertThat(client.models().list().data()).extracting(Model::id).containsExactly(TinyServer.MODEL);
        assertThat(client.models().retrieve(TinyServer.MODEL).id()).isEqualTo(TinyServer.MODEL);
        assertThatThrownBy(() -> client.models().retrieve("gpt-4o")).isInstanceOf(NotFoundException.class);
    }

    @Test
    void refusalsAreTheClientsOwnExceptions() {
        assertThatThrownBy(() ->
                        client.completions().create(completion().temperature(-1).build()))
                .isInstanceOfSatisfying(
                        BadRequestException.class, e -> assertThat(e.param()).contains("temperature"))
                .hasMessageContaining("0 (greedy) to 100");
        assertThatThrownBy(() ->
                        client.completions().create(completion().model("gpt-4o").build()))
                .isInstanceOfSatisfying(
                        NotFoundException.class, e -> assertThat(e.code()).contains("model_not_found"));
    }
}
