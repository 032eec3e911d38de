package dev.kv8.tests;

import static dev.kv8.tests.Command.kv8;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** On the first chapters of the evaluation text; the engine's own tests take the whole of it. */
class EvalCommandTest {
    private static final Path MODEL = Path.of("models", "tiny-llama");
    private static final int CHARACTERS = 5000;

    @TempDir
    static Path folder;

    private static Path text;

    @BeforeAll
    static void writeText() throws Exception {
        text = folder.resolve("text.txt");
        Files.writeString(text, Files.readString(MODEL.resolve("eval.txt")).substring(0, CHARACTERS));
    }

    @Test
    void a_run_for_each_dtype_measured_against_auto() {
        List<Json> runs = runs("--kv-cache-dtype", "auto,fp8,float32", "--scales", "tensor");
        assertThat(runs).extracting(run -> run.get("kv_cache_dtype").text()).containsExactly("auto", "fp8", "float32");

        Json auto = runs.get(0);
        assertThat(auto.get("kl_mean").number()).isZero();
        assertThat(auto.get("top1_agreement").number()).isEqualTo(1);
        assertThat(auto.get("cache_bytes_per_token").number()).isEqualTo(3072);
        assertThat(auto.get("perplexity").number()).isBetween(15.0, 45.0);

        Json fp8 = runs.get(1);
        assertThat(fp8.get("scales").text()).isEqualTo("tensor");
        assertThat(fp8.get("cache_bytes_per_token").number()).isEqualTo(1536);
        assertThat(fp8.get("kl_mean").number()).isGreaterThan(0).isLessThanOrEqualTo(3e-3);
        assertThat(fp8.get("kl_max").number())
                .isGreaterThanOrEqualTo(fp8.get("kl_mean").number());
        assertThat(fp8.get("top1_agreement").number()).isBetween(0.96, 1.0);

        Json float32 = runs.get(2);
        assertThat(float32.get("cache_bytes_per_token").number()).isEqualTo(6144);
        assertThat(float32.get("perplexity").number())
                .isCloseTo(auto.get("perplexity").number(), within(0.05));
    }

    @Test
    void every_granularity_of_scales_can_be_asked_for() {
        for (String scales : List.of("none", "head", "channel", "dynamic")) {
            Json fp8 = runs("--kv-cache-dtype", "fp8", "--scales", scales).get(0);
            assertThat(fp8.get("scales").text()).isEqualTo(scales);
            assertThat(fp8.get("kl_mean").number()).as(scales).isGreaterThan(0).isLessThan(0.01);
        }
    }

    @Test
    void one_command_measures_every_format_with_every_granularity() {
        List<Json> runs = runs("--kv-cache-dtype", "all", "--scales", "all");
        assertThat(runs)
                .extracting(run -> run.get("kv_cache_dtype").text() + " "
                        + run.get("scales").text())
                .containsExactly(
                        "auto none",
                        "bfloat16 none",
                        "float16 none",
                        "fp8_e4m3 none",
                        "fp8_e4m3 tensor",
                        "fp8_e4m3 head",
                        "fp8_e4m3 channel",
                        "fp8_e4m3 dynamic",
                        "fp8_e5m2 none",
                        "fp8_e5m2 tensor",
                        "fp8_e5m2 head",
                        "fp8_e5m2 channel",
                        "fp8_e5m2 dynamic");
        for (Json run : runs) {
            for (String error : List.of("perplexity_se", "nll_delta_se", "kl_mean_se", "top1_se")) {
                assertThat(run.get(error).number()).as(error).isNotNegative();
            }
            assertThat(run.get("by_position").list())
                    .extracting(bucket -> bucket.get("last").number())
                    .containsExactly(127.0, 255.0);
        }
    }

    @Test
    void k_and_v_can_have_dtypes_of_their_own_and_layers_can_be_skipped() {
        List<Json> runs = runs("--kv-cache-dtype", "fp8:auto,fp8_e5m2", "--skip-layers", "0,5");
        assertThat(runs.get(0).get("k_dtype").text()).isEqualTo("fp8");
        assertThat(runs.get(0).get("v_dtype").text()).isEqualTo("auto");
        assertThat(runs.get(0).get("cache_bytes_per_token").number()).isEqualTo(2 * 512 + 4 * 384);
        assertThat(runs.get(1).get("cache_bytes_per_token").number()).isEqualTo(2 * 512 + 4 * 256);
        assertThat(runs.get(1).get("skipped_layers").list())
                .extracting(Json::number)
                .containsExactly(0.0, 5.0);
    }

    @Test
    void layers_are_skipped_by_measured_error_when_asked() {
        String out = kv8(
                        "eval",
                        "--model",
                        MODEL,
                        "--text",
                        text,
                        "--context",
                        128,
                        "--stride",
                        128,
                        "--kv-cache-dtype",
                        "fp8_e5m2",
                        "--skip-layers",
                        "auto",
                        "--kl-budget",
                        0.004)
                .succeeds()
                .out();
        assertThat(out)
                .contains("only layer 0 in FP8: KL", "kept in 16 bits", "holds 0.0040", "fp8_e5m2 without layers");
    }

    @Test
    void the_chart_is_written_where_asked() throws Exception {
        Path plot = folder.resolve("kl.svg");
        kv8("eval", "--model", MODEL, "--text", text, "--context", 128, "--plot", plot, "--stride", 128)
                .succeeds();
        assertThat(Files.readString(plot).strip()).containsPattern("(?s)<svg .*</svg\\s*>$");
    }

    @Test
    void the_table_has_a_row_for_each_run() {
        String table = kv8("eval", "--model", MODEL, "--text", text, "--context", 64, "--stride", 64)
                .succeeds()
                .out();
        assertThat(table).contains("perplexity", "top-1", "\nauto ", "\nfp8 ");
    }

    @Test
    void what_can_not_be_measured_is_refused() throws Exception {
        Path tiny = Files.writeString(folder.resolve("tiny.txt"), "");
        kv8("eval", "--model", MODEL, "--text", folder.resolve("none.txt")).fails("none.txt");
        kv8("eval", "--model", MODEL, "--text", tiny).fails("token");
        kv8("eval", "--model", MODEL, "--text", text, "--scales", "checkpoint").fails("scale");
        kv8("eval", "--model", folder.resolve("none"), "--text", text).fails("none");
        kv8("eval", "--model", MODEL, "--text", text, "--context", "1").isWrongUsage("context");
        kv8("eval", "--model", MODEL, "--text", text, "--stride", "0").isWrongUsage("stride");
        kv8("eval", "--model", MODEL, "--text", text, "--context", "64", "--stride", "65")
                .isWrongUsage("stride");
        kv8("eval", "--model", MODEL, "--text", text, "--kv-cache-dtype", "fp8:fp7")
                .isWrongUsage("fp7", "fp8_e4m3");
        kv8("eval", "--model", MODEL, "--text", text, "--scales", "row").isWrongUsage("row", "channel");
        kv8("eval", "--model", MODEL, "--text", text, "--skip-layers", "0,auto").isWrongUsage("--skip-layers", "auto");
        kv8("eval", "--model", MODEL, "--text", text, "--skip-layers", "6").fails("layer 6", "0 to 5");
        kv8("eval", "--model", MODEL, "--text", text, "--plot", "kl.gif").isWrongUsage("kl.gif");
        kv8("eval", "--model", MODEL, "--text", text, "--calibration-tokens", "0")
                .isWrongUsage("calibrationTokens");
    }

    private static List<Json> runs(Object... options) {
        Object[] command = {"eval", "--model", MODEL, "--text", text, "--context", 256, "--stride", 128, "--json"};
        Object[] all = new Object[command.length + options.length];
        System.arraycopy(command, 0, all, 0, command.length);
        System.arraycopy(options, 0, all, command.length, options.length);
        return kv8(all).succeeds().json().get("runs").list();
    }
}
