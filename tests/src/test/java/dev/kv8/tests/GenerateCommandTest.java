package dev.kv8.tests;

import static dev.kv8.tests.Command.kv8;
import static dev.kv8.tests.Command.kv8InNewJvm;
import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;

class GenerateCommandTest {
    private static final Path MODEL = Path.of("models", "tiny-llama");
    private static final List<Json> REFERENCES =
            Json.read(MODEL.resolve("reference.json")).get("prompts").list();
    /** Below this gap between the two likeliest tokens rounding may choose the other one. */
    private static final double SURE_MARGIN = 0.05;

    @Test
    void float32_gives_the_reference_s_greedy_tokens() {
        List<Json> outputs = outputs(greedy("float32"));
        assertThat(outputs).hasSameSizeAs(REFERENCES);
        for (int i = 0; i < outputs.size(); i++) {
            Json reference = REFERENCES.get(i);
            assertThat(outputs.get(i).get("token_ids").integers())
                    .as(reference.get("text").text())
                    .isEqualTo(reference.get("greedy_ids").integers());
            assertThat(outputs.get(i).get("text").text())
                    .isEqualTo(reference.get("greedy_text").text());
            assertThat(outputs.get(i).get("cached_tokens").number()).isZero();
        }
    }

    @Test
    void auto_gives_them_where_the_model_is_sure() {
        List<Json> outputs = outputs(greedy("auto"));
        for (int i = 0; i < outputs.size(); i++) {
            Json reference = REFERENCES.get(i);
            boolean sure = reference.get("min_margin").number() >= SURE_MARGIN;
            int tokens = sure ? 64 : (int) reference.get("min_margin_at").number();
            assertThat(Arrays.copyOf(outputs.get(i).get("token_ids").integers(), tokens))
                    .as(reference.get("text").text())
                    .isEqualTo(Arrays.copyOf(reference.get("greedy_ids").integers(), tokens));
        }
    }

    @Test
    void fp8_with_calculated_scales_copies_from_a_long_prompt_as_the_reference_does() throws Exception {
        Json longPrompt = REFERENCES.get(2);
        Command generate = kv8InNewJvm(
                List.of("-Dkv.backend=cpu"),
                "generate",
                "--model",
                MODEL,
                "--prompt",
                longPrompt.get("text").text(),
                "--max-tokens",
                "64",
                "--temperature",
                "0",
                "--ignore-eos",
                "--kv-cache-dtype",
                "fp8",
                "--calculate-kv-scales",
                "--json");
        assertThat(outputs(generate).get(0).get("token_ids").integers())
                .isEqualTo(longPrompt.get("greedy_ids").integers());
    }

    @Test
    void options_that_have_no_effect_without_another_are_refused_by_its_name() {
        Object[] generate = {"generate", "--model", MODEL, "--prompt", "And"};
        kv8(with(generate, "--dynamic-scales")).isWrongUsage("--dynamic-scales", "--kv-cache-dtype fp8");
        kv8(with(generate, "--calculate-kv-scales")).isWrongUsage("--calculate-kv-scales", "--kv-cache-dtype fp8");
        for (String option : List.of("--kv-scale-margin=2", "--kv-scale-granularity=head")) {
            kv8(with(generate, "--kv-cache-dtype", "fp8", option))
                    .isWrongUsage(option.substring(0, option.indexOf('=')), "give --calculate-kv-scales");
        }
    }

    @Test
    void sampling_options_take_effect() {
        Object[] seeded = {"generate", "--model", MODEL, "--prompt", "And", "--max-tokens", "24", "--json", "--seed"};
        String once = text(with(seeded, 7));
        assertThat(text(with(seeded, 7))).isEqualTo(once);
        assertThat(text(with(seeded, 8))).isNotEqualTo(once);
        assertThat(text(with(seeded, 7, "--top-k", 1))).isEqualTo(text(with(seeded, 8, "--temperature", 0)));
        assertThat(text(with(seeded, 7, "--temperature", 0, "--stop", "LORD"))).doesNotContain("LORD");
    }

    @Test
    void several_texts_and_log_probabilities_are_in_the_json() {
        Object[] command = {"generate", "--model", MODEL, "--prompt", "And", "--max-tokens", 12, "--seed", 7, "--json"};
        List<Json> three = outputs(kv8(with(command, "-n", 3, "--logprobs", 2)));
        assertThat(three).hasSize(3);
        assertThat(three.get(0).get("text").text()).isEqualTo(text(command));
        assertThat(three.get(1).get("text").text())
                .isNotEqualTo(three.get(0).get("text").text());
        for (int i = 0; i < 3; i++) {
            assertThat(three.get(i).get("index").number()).isEqualTo(i);
            int[] ids = three.get(i).get("token_ids").integers();
            List<Json> logprobs = three.get(i).get("logprobs").list();
            assertThat(logprobs).hasSameSizeAs(ids);
            assertThat(logprobs.get(0).get("token_id").number()).isEqualTo(ids[0]);
            assertThat(logprobs.get(0).get("logprob").number()).isNegative();
            assertThat(logprobs.get(0).get("top").list()).hasSize(2);
        }
        assertThat(text(with(command, "--min-p", 1))).isEqualTo(text(with(command, "--temperature", 0)));
        assertThat(text(with(command, "--temperature", 0, "--repetition-penalty", 50)))
                .isNotEqualTo(text(with(command, "--temperature", 0)));
    }

    @Test
    void a_streamed_text_is_the_same() {
        Object[] command = {"generate", "--model", MODEL, "--prompt", "And", "--max-tokens", 24, "--seed", 7};
        Command streamed = kv8(with(command, "--stream")).succeeds();
        assertThat(streamed.out().strip())
                .isEqualTo(kv8(command).succeeds().out().strip());
        assertThat(streamed.err()).contains("tokens/s");
    }

    @Test
    void people_read_prompt_and_text_and_the_figures_are_not_among_them() {
        Command generate = kv8(
                "generate",
                "--model",
                MODEL,
                "--prompt",
                "The LORD is my shepherd;",
                "--max-tokens",
                5,
                "--temperature",
                0,
                "--kv-cache-dtype",
                "fp8_e5m2",
                "--kv-cache-memory",
                "1MiB");
        assertThat(generate.succeeds().out()).startsWith("The LORD is my shepherd; and the LORD");
        assertThat(generate.out()).doesNotContain("tokens/s");
        assertThat(generate.err()).contains("tokens/s", "fp8_e5m2", "1536 bytes per token");
    }

    @Test
    void what_can_not_be_generated_is_refused() {
        Object[] command = {"generate", "--model", MODEL, "--prompt", "And it came to pass in those days"};
        kv8(with(command, "--kv-cache-memory", "1KiB")).fails("1 KiB");
        String longPrompt = "And it came to pass. ".repeat(10);
        kv8(with(command, "--kv-cache-memory", "48KiB", "--prompt", longPrompt)).fails("tokens", "holds 16");
        kv8(with(command, "--temperature", "-1")).isWrongUsage("temperature", "-1");
        kv8(with(command, "--top-p", "0")).isWrongUsage("topP", "0");
        kv8(with(command, "--max-tokens", "0")).isWrongUsage("maxTokens", "0");
        kv8(with(command, "--min-p", "2")).isWrongUsage("minP", "2");
        kv8(with(command, "-n", "2", "--temperature", "0")).isWrongUsage("n is 2", "temperature 0");
        kv8(with(command, "--logprobs", "3")).isWrongUsage("--json");
        kv8(with(command, "--stream", "-n", "2")).isWrongUsage("--stream");
    }

    private static Command greedy(String dtype) {
        List<Object> arguments = new ArrayList<>(List.of("generate", "--model", MODEL));
        for (Json reference : REFERENCES) {
            arguments.addAll(List.of("--prompt", reference.get("text").text()));
        }
        arguments.addAll(List.of("--max-tokens", 64, "--temperature", 0, "--ignore-eos", "--json"));
        arguments.addAll(List.of("--kv-cache-dtype", dtype));
        return kv8(arguments.toArray());
    }

    private static List<Json> outputs(Command generate) {
        return generate.succeeds().json().get("outputs").list();
    }

    private static String text(Object[] arguments) {
        return outputs(kv8(arguments)).get(0).get("text").text();
    }

    private static Object[] with(Object[] arguments, Object... more) {
        Object[] all = Arrays.copyOf(arguments, arguments.length + more.length);
        System.arraycopy(more, 0, all, arguments.length, more.length);
        return all;
    }
}
