package dev.kv8.tests;

import static dev.kv8.tests.Command.kv8;
import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class BenchCommandTest {
    private static final String SMALL = "bench attention --batch 2 --context 20 --q-heads 4 --kv-heads 2 --head-size 64"
            + " --rounds 3 --kv-cache-dtype bfloat16,fp8,fp8_e5m2 --scales tensor,head,channel,dynamic,none";

    @Test
    void every_dtype_is_measured_with_every_scale_in_one_run() {
        Json result = kv8((Object[]) (SMALL + " --json").split(" ")).succeeds().json();
        assertThat(result.get("machine").get("read_gbps").number()).isPositive();
        List<Json> runs = result.get("runs").list();
        assertThat(runs.stream()
                        .map(run -> run.get("kv_cache_dtype").text() + "/"
                                + run.get("scales").text()))
                .containsExactly(
                        "bfloat16/none",
                        "fp8/tensor",
                        "fp8/head",
                        "fp8/channel",
                        "fp8/dynamic",
                        "fp8/none",
                        "fp8_e5m2/tensor",
                        "fp8_e5m2/head",
                        "fp8_e5m2/channel",
                        "fp8_e5m2/dynamic",
                        "fp8_e5m2/none");
        assertThat(runs).allSatisfy(run -> {
            assertThat(run.get("us").number()).isPositive();
            assertThat(run.get("gbps").number()).isPositive();
            assertThat(run.get("time_vs_bf16").number()).isPositive();
        });
        assertThat(runs.get(0).get("time_vs_bf16").number()).isEqualTo(1);
        assertThat(runs.get(1).get("time_vs_tensor").number()).isEqualTo(1);
    }

    @Test
    void shapes_are_combined_and_compared_within_themselves() {
        Json result = kv8((Object[])
                        ("bench attention --batch 1,2 --context 20,40 --q-heads 2,4 --kv-heads 2 --head-size 64"
                                        + " --rounds 1 --layers 1 --q-dtype float32,bfloat16 --kv-cache-dtype bfloat16,fp8 --json")
                                .split(" "))
                .succeeds()
                .json();
        List<Json> runs = result.get("runs").list();
        assertThat(runs).hasSize(2 * 2 * 2 * 2 * 2);
        assertThat(runs)
                .filteredOn(run -> run.get("kv_cache_dtype").text().equals("bfloat16"))
                .allSatisfy(run -> assertThat(run.get("time_vs_bf16").number()).isEqualTo(1));
        assertThat(runs)
                .allSatisfy(run -> assertThat(run.get("layers").number()).isEqualTo(1));
    }

    @Test
    void casts_are_measured_beside_the_copy(@TempDir Path folder) {
        Path plot = folder.resolve("cast.svg");
        Json result = kv8((Object[])
                        ("bench cast --from f32,bf16,e4m3fn --to e4m3fn,f32 --elements 1000,4099 --rounds 2 --json"
                                        + " --plot " + plot)
                                .split(" "))
                .succeeds()
                .json();
        assertThat(result.get("machine").get("copy_gbps").number()).isPositive();
        assertThat(result.get("runs").list().stream()
                        .map(run -> run.get("from").text() + ">" + run.get("to").text() + " "
                                + (int) run.get("elements").number()))
                .containsExactly(
                        "f32>e4m3fn 1000",
                        "bf16>e4m3fn 1000",
                        "e4m3fn>f32 1000",
                        "f32>e4m3fn 4099",
                        "bf16>e4m3fn 4099",
                        "e4m3fn>f32 4099");
        assertThat(plot).content().contains("<svg");
    }

    @Test
    void writes_are_measured_beside_a_bf16_cache(@TempDir Path folder) {
        String shape = "bench write --tokens 3,20 --layers 4 --kv-heads 2 --head-size 64 --rounds 2 --rope"
                + " --kv-cache-dtype bfloat16,fp8 --scales tensor,dynamic --dtype bfloat16,float32";
        Path plot = folder.resolve("write.svg");
        Json result = kv8((Object[]) (shape + " --json --plot " + plot).split(" "))
                .succeeds()
                .json();
        List<Json> runs = result.get("runs").list();
        assertThat(runs).hasSize(2 * 2 * 3);
        assertThat(runs.get(0).get("time_vs_bf16").number()).isEqualTo(1);
        assertThat(runs).allSatisfy(run -> assertThat(run.get("gbps").number()).isPositive());
        assertThat(runs)
                .allSatisfy(run -> assertThat(run.get("layers").number()).isEqualTo(4));
        assertThat(plot).content().contains("<svg");
        assertThat(kv8((Object[]) shape.split(" ")).succeeds().out()).contains("% of copy", "dynamic", "K rotated");
    }

    /** 64 MiB of slots in FP8, and no more than the slots of a block allow. */
    @Test
    void writes_of_few_tokens_pass_over_more_than_processors_keep() {
        Json result = kv8((Object[])
                        "bench write --tokens 16,128 --rounds 1 --kv-cache-dtype fp8 --scales tensor --json".split(" "))
                .succeeds()
                .json();
        assertThat(result.get("runs").list())
                .extracting(run -> run.get("layers").number())
                .containsExactly(2048.0, 256.0);
    }

    @Test
    void a_models_prompt_and_decode_are_measured_by_cache_dtype() {
        String small = "bench decode --model models/tiny-llama --prompt-tokens 20 --output-tokens 4 --rounds 2";
        Json result = kv8((Object[]) (small + " --json").split(" ")).succeeds().json();
        assertThat(result.get("machine").get("threads").number()).isPositive();
        List<Json> runs = result.get("runs").list();
        assertThat(runs).extracting(run -> run.get("kv_cache_dtype").text()).containsExactly("auto", "fp8");
        for (String part : List.of("prompt", "decode")) {
            assertThat(runs)
                    .allSatisfy(run -> assertThat(
                                    run.get(part + "_tokens_per_second").number())
                            .isPositive()
                            .isLessThanOrEqualTo(
                                    run.get(part + "_tokens_per_second_best").number()));
        }
        assertThat(kv8((Object[]) small.split(" ")).succeeds().out()).contains("threads", "decode tokens/s", "fp8");
    }

    @Test
    void the_table_names_the_machine() {
        assertThat(kv8((Object[]) SMALL.split(" ")).succeeds().out())
                .contains("threads", "GB/s", "channel", "vs tensor");
    }

    @Test
    void help_has_an_example() {
        assertThat(kv8("bench", "--help").succeeds().out()).contains("Example:", "attention");
        String help = kv8("bench", "attention", "--help").succeeds().out();
        assertThat(help).contains("Example:", "--json", "dynamic", "--plot");
        assertThat(kv8("bench", "decode", "--help").succeeds().out()).contains("Example:", "--json", "--rounds");
        for (String what : List.of("cast", "write")) {
            assertThat(kv8("bench", what, "--help").succeeds().out()).contains("Example:", "--json", "--plot");
        }
        assertThat(help.lines()).allSatisfy(line -> assertThat(line).hasSizeLessThanOrEqualTo(100));
    }

    @Test
    void wrong_usage_says_what_is_allowed() {
        kv8("bench").isWrongUsage("attention");
        kv8("bench", "cast", "--from", "f32", "--to", "bf16").isWrongUsage("FP8");
        kv8("bench", "cast", "--elements", "0").isWrongUsage("--elements is 0");
        kv8("bench", "decode").isWrongUsage("--model");
        kv8("bench", "decode", "--model", "models/tiny-llama", "--rounds", "0").isWrongUsage("--rounds is 0");
        kv8("bench", "cast", "--scale", "0").isWrongUsage("scale");
        kv8("bench", "write", "--tokens", "0").isWrongUsage("--tokens is 0");
        kv8("bench", "write", "--head-size", "72").isWrongUsage("headSize is 72");
        kv8("bench", "attention", "--scales", "row").isWrongUsage("row");
        kv8("bench", "attention", "--batch", "0").isWrongUsage("--batch is 0");
        kv8("bench", "attention", "--head-size", "72").isWrongUsage("headSize is 72");
        kv8("bench", "attention", "--q-heads", "3", "--kv-heads", "2", "--context", "64", "--head-size", "64")
                .isWrongUsage("--q-heads is 3");
    }
}
