package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.LocalDate;
import java.util.List;
import java.util.Objects;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Templates built as those that each family's models are published with, in words of our own, against what jinja2 makes of them
 * (chat-templates/render.py among the resources).
 */
class PublishedTemplatesTest {
    private static final JsonObject CONVERSATIONS = object("conversations.json");
    private static final JsonObject EXPECTED = object("expected.json");

    @TempDir
    Path folder;

    private static JsonObject object(String name) {
        return JsonParser.parseString(resource(name)).getAsJsonObject();
    }

    private static String resource(String name) {
        try (InputStream in = PublishedTemplatesTest.class.getResourceAsStream("/chat-templates/" + name)) {
            return new String(Objects.requireNonNull(in, name).readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw new AssertionError(name, e);
        }
    }

    private static List<ChatMessage> messages(String conversation) {
        return StreamSupport.stream(CONVERSATIONS.getAsJsonArray(conversation).spliterator(), false)
                .map(JsonElement::getAsJsonObject)
                .map(message -> new ChatMessage(
                        message.get("role").getAsString(),
                        message.get("content").getAsString()))
                .toList();
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "gemma",
                "gemma3",
                "llama2",
                "llama3",
                "llama31",
                "mistral",
                "mistral3",
                "qwen2",
                "qwen25",
                "qwen3"
            })
    void rendersAsJinjaDoes(String name) throws IOException {
        Files.writeString(folder.resolve("chat_template.jinja"), resource(name + ".jinja"));
        Files.writeString(folder.resolve("tokenizer_config.json"), "{\"bos_token\": \"<s>\", \"eos_token\": \"</s>\"}");
        ChatTemplate template = ChatTemplate.load(folder).orElseThrow();
        JsonObject expected = EXPECTED.getAsJsonObject(name);
        for (String conversation : CONVERSATIONS.keySet()) {
            List<ChatMessage> messages = messages(conversation);
            for (boolean prompt : new boolean[] {false, true}) {
                JsonObject outcome = expected.getAsJsonObject(conversation).getAsJsonObject(String.valueOf(prompt));
                if (outcome.has("text")) {
                    assertThat(template.render(messages, prompt, LocalDate.of(2024, 7, 26)))
                            .as(conversation)
                            .isEqualTo(outcome.get("text").getAsString());
                } else {
                    assertThatExceptionOfType(CheckpointException.class)
                            .as(conversation)
                            .isThrownBy(() -> template.render(messages, prompt, LocalDate.of(2024, 7, 26)))
                            .withMessageContaining(outcome.get("refusal").getAsString());
                }
            }
        }
    }
}
