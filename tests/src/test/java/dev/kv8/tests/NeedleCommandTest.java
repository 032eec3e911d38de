package dev.kv8.tests;

import static dev.kv8.tests.Command.kv8;
import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;

class NeedleCommandTest {
    private static final Path MODEL = Path.of("models", "tiny-llama");
    private static final Path TEXT = MODEL.resolve("eval.txt");

    @Test
    void every_setting_reads_every_statement() {
        Json result = kv8(
                        "needle",
                        "--model",
                        MODEL,
                        "--text",
                        TEXT,
                        "--context",
                        "96,128",
                        "--depths",
                        "0,0.5,1",
                        "--kv-cache-dtype",
                        "auto,fp8",
                        "--json")
                .succeeds()
                .json();
        List<Json> runs = result.get("runs").list();
        assertThat(runs).extracting(run -> run.get("kv_cache_dtype").text()).containsExactly("auto", "fp8");
        for (Json run : runs) {
            List<Json> needles = run.get("needles").list();
            assertThat(needles).hasSize(6);
            assertThat(needles.get(4).get("context").number()).isEqualTo(128);
            assertThat(needles.get(4).get("depth").number()).isEqualTo(0.5);
            assertThat(needles.get(4).get("log_probability").number()).isNegative();
        }
        assertThat(result.get("ability").text()).isIn("retrieves", "notices", "neither");
    }

    @Test
    void the_table_ends_with_what_it_is_worth() {
        String out = kv8("needle", "--model", MODEL, "--text", TEXT, "--context", 96, "--depths", "0,1")
                .succeeds()
                .out();
        assertThat(out)
                .contains("retrieved", "lift", "\nauto ", "\nfp8 ", "With its own cache type the model retrieves");
    }

    @Test
    void what_can_not_be_checked_is_refused() {
        kv8("needle", "--model", MODEL, "--text", TEXT, "--context", 20).fails("no room for filler");
        kv8("needle", "--model", MODEL, "--text", TEXT, "--context", 4096).fails("context is 4096");
        kv8("needle", "--model", MODEL, "--text", TEXT, "--depths", 2).isWrongUsage("depths are [2.0]");
        kv8("needle", "--model", MODEL, "--text", TEXT, "--scales", "row").isWrongUsage("row", "tensor");
    }
}
