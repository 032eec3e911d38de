package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import dev.kv8.ByteSize;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What may be asked of the engine, and how it refuses the rest. */
class EngineRequestsTest extends SteppedEngine {
    @Test
    void refusesWhatIsTooMuch() {
        try (LLM llm = builder().maxWaiting(2).maxSequences(3).build()) {
            llm.submit(request(PROMPT, sampled(2)));
            llm.submit(request(PROMPT, sampled(2)));
            assertThatExceptionOfType(TooManyRequestsException.class)
                    .isThrownBy(() -> llm.submit(request(PROMPT, sampled(2))))
                    .withMessageContaining("2 requests wait, and at most 2 may (maxWaiting)");
            assertThat(llm.stats().waiting()).isEqualTo(2);
            llm.engine().step();
            llm.submit(request(PROMPT, sampled(2)));
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> llm.submit(request(PROMPT, sampled(2).n(4))))
                    .withMessageContaining("n is 4, but at most 3 texts are written at once (maxSequences");
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> llm.submit(GenerationRequest.builder()
                            .promptTokenIds(5, 100_000)
                            .build()))
                    .withMessageContaining("Token 1 of the prompt is 100000; the model has tokens 0 to");
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> llm.submit(GenerationRequest.builder()
                            .promptTokenIds(new int[2049])
                            .build()))
                    .withMessageContaining("2049 tokens");
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> llm.submit(
                            GenerationRequest.builder().promptTokenIds().build()))
                    .withMessageContaining("has no tokens");
            finish(llm);
        }
    }

    @Test
    void refusesARequestWithoutOneClearPrompt() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> GenerationRequest.builder().build())
                .withMessageContaining("There is no prompt");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> GenerationRequest.builder()
                        .prompt("In")
                        .messages(List.of(new ChatMessage("user", "In")))
                        .build())
                .withMessageContaining("more than one prompt");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> GenerationRequest.builder().timeout(Duration.ZERO))
                .withMessageContaining("The timeout is PT0S");
    }

    @Test
    void theLongestTextIsTheModelsOrTheCaches() {
        try (LLM llm = builder().kvCacheMemory(ByteSize.of(8 * BLOCK_BYTES)).build()) {
            assertThat(llm.longestSequence()).isEqualTo(8 * 16);
        }
        try (LLM llm = builder().kvCacheMemory(ByteSize.mib(16)).build()) {
            assertThat(llm.longestSequence()).isEqualTo(2048);
        }
    }

    @Test
    void tokenIdsAreAPromptToo() {
        try (LLM llm = builder().build()) {
            int[] ids = llm.tokenizer().encode(PROMPT);
            Generation given = llm.submit(GenerationRequest.builder()
                    .promptTokenIds(ids)
                    .sampling(sampled(10).build())
                    .build());
            finish(llm);
            Completion text = alone(request(PROMPT, sampled(10))).get(0);
            assertThat(given.promptTokens()).isEqualTo(ids.length);
            assertThat(done(given).get(0).tokenIds()).isEqualTo(text.tokenIds());
            assertThat(done(given).get(0).prompt()).isEqualTo(PROMPT);
        }
    }

    @Test
    void aShareOfProbabilityThatIsNoFloatKeepsTheMostProbableToken() {
        assertThat(alone(request(PROMPT, sampled(8).topP(1e-50))).get(0).tokenIds())
                .isEqualTo(
                        alone(request(PROMPT, sampled(8).temperature(0))).get(0).tokenIds());
    }

    /** As of a tokenizer that got a token for padding after the model was made. */
    @Test
    void aTextOfTokensThatTheModelLacksIsRefused(@TempDir Path folder) throws IOException {
        TinyModel.copyTo(folder);
        Path tokenizer = folder.resolve("tokenizer.json");
        JsonObject json = JsonParser.parseString(Files.readString(tokenizer)).getAsJsonObject();
        JsonObject added =
                json.getAsJsonArray("added_tokens").get(0).getAsJsonObject().deepCopy();
        int vocabulary = ModelConfig.read(folder).vocabularySize();
        added.addProperty("id", vocabulary);
        added.addProperty("content", "[PAD]");
        json.getAsJsonArray("added_tokens").add(added);
        Files.delete(tokenizer);
        Files.writeString(tokenizer, json.toString());
        try (LLM llm = builder().model(folder).build()) {
            assertThatIllegalArgumentException()
                    .isThrownBy(() -> llm.submit(request("In the[PAD] beginning", sampled(2))))
                    .withMessageContaining("is " + vocabulary
                            + ", \"[PAD]\" to the tokenizer; the model has tokens 0 to " + (vocabulary - 1));
        }
    }
}
