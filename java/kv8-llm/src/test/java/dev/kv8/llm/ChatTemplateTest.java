package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.LocalDate;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What the expected texts say is what Python's jinja2 gives with trim_blocks and lstrip_blocks, as transformers sets them. */
class ChatTemplateTest {
    private static final LocalDate DAY = LocalDate.of(2024, 7, 26);
    private static final List<ChatMessage> CHAT = List.of(
            new ChatMessage("system", " Be brief. "),
            new ChatMessage("user", "Say {{ 6 * 7 }} and {% if x %}."),
            new ChatMessage("assistant", "'No' \\n <b>&amp;</b>\n"));

    /** In the manner of models that mark turns with im_start and im_end. */
    private static final String MARKED_TURNS = """
            {%- if messages[0]['role'] != 'system' %}
                {{- '<|im_start|>system\\nYou help.<|im_end|>\\n' }}
            {%- endif %}
            {%- for message in messages %}
                {{- '<|im_start|>' + message.role + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}
            {%- endfor %}
            {%- if add_generation_prompt %}
                {{- '<|im_start|>assistant\\n' }}
            {%- endif %}
            """;

    /** In the manner of models that tell the date, trim, slice off the system's words and set names. */
    private static final String DATED = """
            {{- bos_token }}
            {%- if not date_string is defined %}
                {%- if strftime_now is defined %}
                    {%- set date_string = strftime_now("%d %b %Y") %}
                {%- else %}
                    {%- set date_string = "unknown" %}
                {%- endif %}
            {%- endif %}
            {%- if messages[0]['role'] == 'system' %}
                {%- set system_message = messages[0]['content']|trim %}
                {%- set messages = messages[1:] %}
            {%- else %}
                {%- set system_message = "" %}
            {%- endif %}
            {{- "<|h|>system<|/h|>\\n\\n" }}
            {{- "Today: " + date_string + "\\n" }}
            {{- system_message }}
            {{- "<|eot|>" }}
            {%- for message in messages %}
                {%- if not (message.role == 'ipython' or 'tool_calls' in message) %}
                    {{- '<|h|>' + message['role'] + '<|/h|>\\n\\n'+ message['content'] | trim + '<|eot|>' }}
                {%- endif %}
            {%- endfor %}
            """;

    /** In the manner of models that refuse roles out of order and use loop variables, a namespace and plain lines. */
    private static final String ALTERNATING = """
            {% set ns = namespace(turns=0) %}
            {{ bos_token }}{% for m in messages %}
            {% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}
                {{ raise_exception('Roles must alternate, ' + m['role'] + ' comes at ' + loop.index0|string) }}
            {% endif %}
            {% set ns.turns = ns.turns + 1 %}
            {% if m['role'] == 'user' %}
            [INST] {{ m['content'].strip() }} [/INST]
            {%- elif m['role'] in ['assistant', 'bot'] %}
             {{ m['content'] }}{{ eos_token if loop.last else ';' }}
            {% endif %}
            {% endfor %}{{ ns.turns }}
            """;

    @TempDir
    Path folder;

    private String render(String template, List<ChatMessage> messages, boolean addGenerationPrompt) throws IOException {
        writeConfig(template);
        return ChatTemplate.load(folder).orElseThrow().render(messages, addGenerationPrompt, DAY);
    }

    private void writeConfig(String template) throws IOException {
        JsonObject config = new JsonObject();
        config.addProperty("bos_token", "<s>");
        JsonObject eos = new JsonObject();
        eos.addProperty("content", "</s>");
        config.add("eos_token", eos);
        config.addProperty("chat_template", template);
        Files.writeString(folder.resolve("tokenizer_config.json"), config.toString());
    }

    @Test
    void marksTurnsAndLeavesWhatMessagesSayAlone() throws IOException {
        String turns = """
                <|im_start|>user
                Say {{ 6 * 7 }} and {% if x %}.<|im_end|>
                <|im_start|>assistant
                'No' \\n <b>&amp;</b>
                <|im_end|>
                """;
        assertThat(render(MARKED_TURNS, CHAT, false)).isEqualTo("<|im_start|>system\n Be brief. <|im_end|>\n" + turns);
        assertThat(render(MARKED_TURNS, CHAT.subList(1, 3), true))
                .isEqualTo("<|im_start|>system\nYou help.<|im_end|>\n" + turns + "<|im_start|>assistant\n");
    }

    @Test
    void tellsTheDateThatItIsGiven() throws IOException {
        assertThat(render(DATED, CHAT, false))
                .isEqualTo("<s><|h|>system<|/h|>\n\nToday: 26 Jul 2024\nBe brief.<|eot|>"
                        + "<|h|>user<|/h|>\n\nSay {{ 6 * 7 }} and {% if x %}.<|eot|>"
                        + "<|h|>assistant<|/h|>\n\n'No' \\n <b>&amp;</b><|eot|>");
    }

    @Test
    void keepsLoopsNamespacesAndWhitespaceAsJinjaDoes() throws IOException {
        List<ChatMessage> turns = List.of(
                new ChatMessage("user", "  a "), new ChatMessage("assistant", "b"), new ChatMessage("user", "c"));
        assertThat(render(ALTERNATING, turns, false)).isEqualTo("<s>[INST] a [/INST] b;\n[INST] c [/INST]3");
    }

    @Test
    void reportsWhatTheTemplateRefuses() {
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> render(ALTERNATING, CHAT, false))
                .withMessageContaining("tokenizer_config.json")
                .withMessageContaining("Roles must alternate, system comes at 0");
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> render("{% for m in messages %}", CHAT, false))
                .withMessageContaining("can't render this conversation");
    }

    @Test
    void findsTheTemplateWhereverTransformersWritesIt() throws IOException {
        assertThat(ChatTemplate.load(folder)).isEmpty();
        assertThat(ChatTemplate.load(TinyModel.FOLDER)).isEmpty();
        JsonArray templates = new JsonArray();
        for (String name : List.of("tool_use", "default")) {
            JsonObject named = new JsonObject();
            named.addProperty("name", name);
            named.addProperty("template", name + " of {{ messages|length }}");
            templates.add(named);
        }
        JsonObject config = new JsonObject();
        config.add("chat_template", templates);
        Files.writeString(folder.resolve("tokenizer_config.json"), config.toString());
        assertThat(ChatTemplate.load(folder).orElseThrow().render(CHAT, false, DAY))
                .isEqualTo("default of 3");
        Files.writeString(folder.resolve("chat_template.jinja"), "file of {{ messages|length }}\n");
        assertThat(ChatTemplate.load(folder).orElseThrow().render(CHAT, false, DAY))
                .isEqualTo("file of 3");
    }

    @Test
    void endsWhatATemplateWouldNeverEnd() {
        String loops = "{% for a in range(1000) %}".repeat(4) + "{% endfor %}".repeat(4);
        String growing = "{% set x = [1] %}{% for a in range(60) %}{% set x = x + x %}{% endfor %}";
        String brackets = "an expression has more than 100 brackets inside each other";
        refuses("{{ " + "(".repeat(20_000) + " }}", brackets);
        refuses("{% set n = " + "namespace(a=".repeat(20_000) + " %}", brackets);
        refuses("{{ " + "not ".repeat(20_000) + "1 }}", "nested too deeply");
        refuses(loops, "It takes more than 1048576 steps");
        refuses(growing, "Collection of size");
    }

    private void refuses(String source, String message) {
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> render(source, CHAT, false))
                .withMessageContaining("tokenizer_config.json")
                .withMessageContaining(message);
    }

    @Test
    void refusesFilesThatHoldNoTemplate() throws IOException {
        Path config = folder.resolve("tokenizer_config.json");
        for (String template : List.of("7", "[7]", "[{'name':'default','template':{}}]", "[{'name':[]}]")) {
            Files.writeString(config, ("{'chat_template':" + template + "}").replace('\'', '"'));
            assertThatExceptionOfType(CheckpointException.class)
                    .as(template)
                    .isThrownBy(() -> ChatTemplate.load(folder))
                    .withMessageContaining("tokenizer_config.json")
                    .withMessageContaining("it must be");
        }
        Files.delete(config);
        Files.write(folder.resolve("chat_template.jinja"), new byte[] {'a', (byte) 0xff});
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> ChatTemplate.load(folder))
                .withMessageContaining("chat_template.jinja is not text in UTF-8");
    }

    @Test
    void reachesNoJavaClassAndNoFile() throws IOException {
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> render("{{ messages[0].getClass().forName('java.lang.Runtime') }}", CHAT, false));
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> render("{% include '/etc/passwd' %}", CHAT, false));
        // As it is in every jar of the class path.
        for (String reading : new String[] {
            "{% include 'META-INF/MANIFEST.MF' %}",
            "{% import 'META-INF/MANIFEST.MF' as other %}{{ other }}",
            "{% from 'META-INF/MANIFEST.MF' import other %}",
            "{% extends 'META-INF/MANIFEST.MF' %}"
        }) {
            assertThatExceptionOfType(CheckpointException.class)
                    .as(reading)
                    .isThrownBy(() -> render(reading, CHAT, false));
        }
    }
}
