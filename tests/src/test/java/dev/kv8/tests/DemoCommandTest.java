package dev.kv8.tests;

import static dev.kv8.tests.Command.kv8;
import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class DemoCommandTest {
    private static final Path MODEL = Path.of("models", "tiny-llama");

    @TempDir
    static Path folder;

    private static Path text;

    @BeforeAll
    static void writeText() throws Exception {
        text = folder.resolve("short.txt");
        Files.writeString(text, Files.readString(MODEL.resolve("eval.txt")).substring(0, 2000));
    }

    @Test
    void the_same_memory_holds_twice_the_tokens_in_fp8_and_the_text_hardly_notices() {
        Json demo = demo("--json").json();
        List<Json> runs = demo.get("runs").list();
        assertThat(runs).extracting(run -> run.get("kv_cache_dtype").text()).containsExactly("auto", "fp8");
        Json auto = runs.get(0);
        Json fp8 = runs.get(1);
        assertThat(demo.get("memory_bytes").number()).isEqualTo(1 << 20);
        assertThat(fp8.get("blocks").number())
                .isGreaterThanOrEqualTo(1.98 * auto.get("blocks").number());
        assertThat(fp8.get("tokens").number() * fp8.get("cache_bytes_per_token").number())
                .isLessThanOrEqualTo(1 << 20);
        assertThat(fp8.get("top1_agreement").number()).isGreaterThan(0.9);
        assertThat(fp8.get("tokens_per_second").number()).isPositive();
        assertThat(fp8.get("texts").list()).hasSize(2);
        assertThat(auto.get("texts").list().get(0).text()).startsWith(" and the LORD hath");
        assertThat(demo.get("machine").get("name").text()).isNotBlank();
    }

    @Test
    void people_read_it_side_by_side_on_100_columns() {
        String out = demo().out();
        assertThat(out)
                .contains("kv_cache_dtype auto", "kv_cache_dtype fp8", "[The LORD is my shepherd;] and the LORD")
                .contains("bytes of cache per token", "tokens that fit in 1 MiB", "perplexity", "top-1", "tokens/s");
        assertThat(out.lines()).allSatisfy(line -> assertThat(line).hasSizeLessThanOrEqualTo(100));
    }

    private static Command demo(String... options) {
        Object[] command = {
            "demo",
            "--model",
            MODEL,
            "--text",
            text,
            "--max-tokens",
            8,
            "--prompt",
            "The LORD is my shepherd;",
            "--prompt",
            "And Moses said unto the children of Israel,"
        };
        Object[] all = Arrays.copyOf(command, command.length + options.length, Object[].class);
        System.arraycopy(options, 0, all, command.length, options.length);
        return kv8(all).succeeds();
    }
}
