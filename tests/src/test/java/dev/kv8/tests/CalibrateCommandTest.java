package dev.kv8.tests;

import static dev.kv8.tests.Command.kv8;
import static org.assertj.core.api.Assertions.assertThat;

import dev.kv8.cli.Kv8;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CalibrateCommandTest {
    private static final Path MODEL = Path.of("models", "tiny-llama");
    private static final Path OUTLIER = Path.of("models", "tiny-llama-outlier");
    private static final Path TEXT = MODEL.resolve("eval.txt");
    private static final String RECIPE = """
            quant_stage:
              quant_modifiers:
                QuantizationModifier:
                  ignore: ["model.layers.1.self_attn"]
                  kv_cache_scheme: {num_bits: %d, type: float, strategy: %s, dynamic: false, symmetric: true}
            """;

    @TempDir
    Path folder;

    private Path output() {
        return folder.resolve("calibrated");
    }

    /** A few samples to {@link #output}, where {@code more} does not say otherwise. */
    private Command calibrate(Object... more) {
        List<Object> words = new ArrayList<>(List.of("calibrate", "--output", output(), "--num-samples", 4));
        words.addAll(List.of(more));
        if (!words.contains("--data")) {
            words.addAll(List.of("--data", TEXT));
        }
        if (!words.contains("--max-seq-length")) {
            words.addAll(List.of("--max-seq-length", 64));
        }
        return kv8(words.toArray());
    }

    @Test
    void writes_a_checkpoint_that_generates_with_an_fp8_cache() {
        Json result = calibrate("--model", MODEL, "--strategy", "attn_head", "--json")
                .succeeds()
                .json();
        assertThat(result.get("strategy").text()).isEqualTo("attn_head");
        assertThat(result.get("samples").number()).isEqualTo(4);
        assertThat(folder).isDirectoryNotContaining("glob:**.calibration");
        assertThat(output().resolve("kv_calibration.json")).isRegularFile();
        Json config = Json.read(output().resolve("config.json")).get("quantization_config");
        assertThat(config.get("kv_cache_scheme").get("strategy").text()).isEqualTo("attn_head");
        kv8("generate", "--model", output(), "--prompt", "In the", "--max-tokens", 4, "--kv-cache-dtype", "fp8")
                .succeeds();
        assertThat(calibrate("--model", output()).fails("already").err()).isNotEmpty();
    }

    @Test
    void chooses_the_coarsest_strategy_that_holds_the_budget_and_says_why() {
        Json result = calibrate("--model", OUTLIER, "--strategy", "auto", "--json")
                .succeeds()
                .json();
        assertThat(result.get("strategy").text()).isEqualTo("attn_head");
        assertThat(result.get("reasons").list())
                .extracting(Json::text)
                .anySatisfy(
                        reason -> assertThat(reason).startsWith("tensor: KL").contains("exceeds"))
                .anySatisfy(reason -> assertThat(reason).startsWith("head: KL").contains("holds"));
    }

    @Test
    void keeps_the_layers_that_the_budget_needs_in_16_bits() {
        Json result = calibrate("--model", OUTLIER, "--skip-layers", "auto", "--json")
                .succeeds()
                .json();
        assertThat(result.get("strategy").text()).isEqualTo("tensor");
        assertThat(result.get("skipped_layers").list()).isNotEmpty();
    }

    @Test
    void says_when_nothing_holds_the_budget_and_writes_nothing() {
        Command failed = calibrate("--model", MODEL, "--strategy", "auto", "--kl-budget", "1e-9");
        failed.fails("No granularity holds the budget", "--resume");
        assertThat(output()).doesNotExist();
        calibrate("--model", MODEL).fails("interrupted calibration", "--resume");
        calibrate("--model", MODEL, "--resume").succeeds();
    }

    @Test
    void follows_a_recipe_and_refuses_one_that_it_can_not_follow() throws IOException {
        Path recipe = folder.resolve("recipe.yaml");
        Files.writeString(recipe, RECIPE.formatted(8, "channel"));
        Json result = calibrate("--model", MODEL, "--recipe", recipe, "--json")
                .succeeds()
                .json();
        assertThat(result.get("strategy").text()).isEqualTo("channel");
        assertThat(result.get("skipped_layers").list()).extracting(Json::number).containsExactly(1.0);

        Files.writeString(recipe, RECIPE.formatted(4, "tensor"));
        calibrate("--model", MODEL, "--recipe", recipe).fails("num_bits", "4");
        Files.writeString(recipe, RECIPE.formatted(8, "group"));
        calibrate("--model", MODEL, "--recipe", recipe).fails("strategy", "group");
        calibrate("--model", MODEL, "--recipe", recipe, "--strategy", "tensor").isWrongUsage("--recipe", "--strategy");
    }

    @Test
    void says_what_is_wrong_before_it_works() throws IOException {
        calibrate("--model", MODEL, "--max-seq-length", "4096").fails("4096", "at most 2048 tokens");
        calibrate("--model", MODEL, "--data", folder.resolve("none.txt")).fails("There is no data set");
        Path empty = Files.writeString(folder.resolve("empty.jsonl"), "\n");
        calibrate("--model", MODEL, "--data", empty).fails("is empty");
        calibrate("--model", MODEL, "--kv-cache-dtype", "fp8_e5m2").isWrongUsage("fp8_e5m2", "fp8_e4m3");
        calibrate("--model", MODEL, "--observer", "median").isWrongUsage("median", "minmax, percentile and mse");
        calibrate("--model", MODEL, "--percentile", 99).isWrongUsage("--percentile", "--observer percentile");
        calibrate("--model", MODEL, "--skip-layers", "0,6").isWrongUsage("\"6\"", "0 to 5");
        calibrate("--model", MODEL, "--strategy", "row").isWrongUsage("row");
        Files.createDirectory(output());
        calibrate("--model", MODEL).fails("exists already");
    }

    @Test
    void interrupted_by_the_user_it_keeps_what_it_has_done() throws Exception {
        Path text = folder.resolve("long.txt");
        Files.writeString(text, Files.readString(TEXT).repeat(8));
        Path state = folder.resolve("calibrated.calibration");
        List<String> arguments = List.of(
                "calibrate",
                "--model",
                MODEL.toString(),
                "--data",
                text.toString(),
                "--output",
                output().toString(),
                "--max-seq-length",
                "512");
        List<String> line = new ArrayList<>(List.of(
                Command.java(), "--enable-native-access=ALL-UNNAMED", "-cp", System.getProperty("java.class.path")));
        line.add(Kv8.class.getName());
        line.addAll(arguments);
        Path err = folder.resolve("err");
        Process process = new ProcessBuilder(line).redirectError(err.toFile()).start();
        while (!Files.exists(state)) {
            assertThat(process.isAlive()).as(Files.readString(err)).isTrue();
            Thread.sleep(20);
        }
        // Ctrl-C's own signal is ignored where the tests run in the background of a shell; this one takes the same way.
        new ProcessBuilder("kill", "-TERM", String.valueOf(process.pid()))
                .start()
                .waitFor();
        assertThat(process.waitFor(1, TimeUnit.MINUTES)).isTrue();
        assertThat(Files.readString(err)).contains("The calibration was stopped after", "Go on with --resume");
        assertThat(output()).doesNotExist();
        assertThat(state).exists();

        List<Object> resumed = new ArrayList<>(arguments);
        resumed.add("--resume");
        kv8(resumed.toArray()).succeeds();
        assertThat(output()).isDirectory();
        assertThat(state).doesNotExist();
    }
}
