package dev.kv8.tests;

import static dev.kv8.tests.Command.kv8;
import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class BenchServeCommandTest {
    private static final String MODEL = "models/tiny-llama";
    private static final String SMALL =
            "bench serve --model " + MODEL + " --kv-cache-memory 2MiB --prompt-tokens 90 --output-tokens 22";

    @TempDir
    Path folder;

    private static Command run(String more) {
        return kv8((Object[]) (SMALL + more).split(" "));
    }

    /** Memory for six texts in 16 bits, and twelve in eight. */
    @Test
    void the_same_memory_keeps_twice_the_texts_resident_in_fp8() {
        List<Json> runs =
                run(" --requests 24 --json").succeeds().json().get("runs").list();
        assertThat(runs).extracting(run -> run.get("kv_cache_dtype").text()).containsExactly("auto", "fp8");
        assertThat(runs).allSatisfy(run -> {
            assertThat(run.get("tokens_per_second").number()).isPositive();
            assertThat(run.get("latency_p95_s").number())
                    .isGreaterThanOrEqualTo(run.get("first_token_p50_s").number());
        });
        double auto = runs.get(0).get("resident_max").number();
        assertThat(auto).isBetween(5.0, 7.0);
        assertThat(runs.get(1).get("resident_max").number()).isGreaterThanOrEqualTo(1.8 * auto);
    }

    @Test
    void plots_throughput_and_latency_by_offered_load() throws Exception {
        Path plot = folder.resolve("serve.svg");
        String out = run(" --rate 40,80 --requests 6 --plot " + plot).succeeds().out();
        assertThat(out).contains("tokens/s", "fp8 against auto at 80 requests/s");
        assertThat(Files.readString(plot)).startsWith("<?xml").contains("<svg");
    }

    @Test
    void random_weights_of_any_size_run_with_the_models_tokenizer() {
        Json result = run(" --json --random-weights 256x2 --requests 2 --kv-cache-dtype fp8")
                .succeeds()
                .json();
        Json only = result.get("runs").list().get(0);
        assertThat(only.get("tokens_per_second").number()).isPositive();
        // 2 layers, K and V, one KV head of 64, a byte each
        assertThat(only.get("cache_bytes_per_token").number()).isEqualTo(256);
    }

    @Test
    void wrong_usage_says_what_is_allowed() {
        run(" --rate fast").isWrongUsage("--rate is \"fast\"");
        run(" --rate 0").isWrongUsage("more than 0, or inf");
        run(" --requests 0").isWrongUsage("--requests is 0");
        run(" --random-weights 100x2").isWrongUsage("100x2", "a multiple of 256");
        run(" --plot serve.pdf").isWrongUsage("serve.pdf");
        String help = kv8("bench", "serve", "--help").succeeds().out();
        assertThat(help).contains("Example:", "--json", "inf");
        assertThat(help.lines()).allSatisfy(line -> assertThat(line).hasSizeLessThanOrEqualTo(100));
    }
}
