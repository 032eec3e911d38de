package dev.kv8.tests;

import static dev.kv8.tests.Command.kv8;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.withinPercentage;

import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class BenchCommandTest {
    private static final String SMALL = "bench attention --batch 2 --context 20 --q-heads 4 --kv-heads 2 --head-size 64"
            + " --rounds 3 --kv-cache-dtype bfloat16,fp8,fp8_e5m2 --scales tensor,head,channel,dynamic,none";

    @Test
    void every_dtype_is_measured_with_every_scale_in_one_run() {
        Json result = kv8((Object[]) (SMALL + " --json").split(" ")).succeeds().json();
        double read = result.get("machine").get("read_gbps").number();
        assertThat(read).isPositive();
        assertThat(result.get("machine").get("last_level_cache_bytes").number()).isNotNegative();
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
            isOfThisMachine(run);
            assertThat(run.get("threads").number())
                    .isEqualTo(result.get("machine").get("threads").number());
            assertThat(run.get("batch").number()).isEqualTo(2);
            assertThat(run.get("queries").number()).isEqualTo(1);
            assertThat(run.get("context").number()).isEqualTo(20);
            assertThat(run.get("q_heads").number()).isEqualTo(4);
            assertThat(run.get("kv_heads").number()).isEqualTo(2);
            assertThat(run.get("head_size").number()).isEqualTo(64);
            assertThat(run.get("q_dtype").text()).isEqualTo("float32");
            assertThat(run.get("path").text()).isEqualTo("precise");
            assertThat(run.get("values").text()).isEqualTo("normal");
            // K and V in each layer; a scale by token is stored beside each row.
            double rowBytes = run.get("kv_cache_dtype").text().equals("bfloat16")
                    ? 128
                    : run.get("scales").text().equals("dynamic") ? 68 : 64;
            double layerBytes = 2 * 2 * 20 * 2 * rowBytes;
            assertThat(run.get("cache_bytes").number())
                    .isEqualTo(layerBytes * run.get("layers").number());
            timeAndSpeedAgree(run, layerBytes);
            isPercentOf(run, "percent_of_read_bandwidth", read);
            assertThat(run.get("time_vs_bf16").number()).isPositive();
        });
        assertThat(runs.get(0).get("time_vs_bf16").number()).isEqualTo(1);
        assertThat(runs.get(1).get("time_vs_tensor").number()).isEqualTo(1);
    }

    private static void isOfThisMachine(Json run) {
        assertThat(run.get("backend").text()).isEqualTo("cpu");
        assertThat(run.get("isa").text()).isIn("scalar", "avx2", "avx512", "avx512_bf16", "neon");
    }

    /** 1 GB/s is 1000 bytes in a microsecond. */
    private static void timeAndSpeedAgree(Json run, double bytes) {
        assertThat(run.get("gbps").number() * 1000 * run.get("us").number()).isCloseTo(bytes, withinPercentage(0.01));
    }

    private static void isPercentOf(Json run, String field, double gbps) {
        assertThat(run.get(field).number() * gbps / 100)
                .isCloseTo(run.get("gbps").number(), withinPercentage(0.01));
    }

    @Test
    void a_prompts_chunk_and_subnormal_codes_are_measured_and_drawn(@TempDir Path folder) {
        Path plot = folder.resolve("prompt.svg");
        String small = "bench attention --batch 2 --context 40 --queries 24 --values subnormal --q-heads 2 --kv-heads 2"
                + " --head-size 64 --rounds 1 --layers 1 --q-dtype bfloat16 --kv-cache-dtype fp8,fp8_e5m2"
                + " --scales none,tensor,dynamic";
        Json result = kv8((Object[]) (small + " --json --plot " + plot).split(" "))
                .succeeds()
                .json();
        assertThat(result.get("runs").list()).hasSize(6).allSatisfy(run -> {
            assertThat(run.get("queries").number()).isEqualTo(24);
            assertThat(run.get("values").text()).isEqualTo("subnormal");
            assertThat(run.get("path").text())
                    .isEqualTo(run.get("isa").text().equals("avx512_bf16") ? "fast" : "precise");
        });
        assertThat(plot).content().contains("<svg");
        assertThat(kv8((Object[]) small.split(" ")).succeeds().out())
                .contains("24 queries", "subnormal values", "path");
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
        double copy = result.get("machine").get("copy_gbps").number();
        assertThat(copy).isPositive();
        assertThat(result.get("runs").list()).allSatisfy(run -> {
            isOfThisMachine(run);
            double bytes = Stream.of("from", "to")
                    .map(end -> run.get(end).text())
                    .mapToInt(type -> type.equals("f32") ? 4 : type.equals("bf16") ? 2 : 1)
                    .sum();
            timeAndSpeedAgree(run, bytes * run.get("elements").number());
            isPercentOf(run, "percent_of_copy_bandwidth", copy);
        });
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
        double copy = result.get("machine").get("copy_gbps").number();
        assertThat(runs).allSatisfy(run -> {
            isOfThisMachine(run);
            assertThat(run.get("layers").number()).isEqualTo(4);
            assertThat(run.get("kv_heads").number()).isEqualTo(2);
            assertThat(run.get("head_size").number()).isEqualTo(64);
            double read = run.get("dtype").text().equals("float32") ? 256 : 128;
            double written = run.get("kv_cache_dtype").text().equals("bfloat16")
                    ? 128
                    : run.get("scales").text().equals("dynamic") ? 68 : 64;
            timeAndSpeedAgree(run, 2 * 2 * run.get("tokens").number() * (read + written));
            isPercentOf(run, "percent_of_copy_bandwidth", copy);
        });
        assertThat(plot).content().contains("<svg");
        assertThat(kv8((Object[]) shape.split(" ")).succeeds().out()).contains("% of copy", "dynamic", "K rotated");
    }

    @Test
    void moves_are_measured_with_neighbours_and_without(@TempDir Path folder) {
        String small =
                "bench move --tokens 40,100 --layers 2 --kv-heads 2 --head-size 64 --rounds 2 --kv-cache-dtype fp8";
        Path plot = folder.resolve("move.svg");
        Json result = kv8((Object[]) (small + " --json --plot " + plot).split(" "))
                .succeeds()
                .json();
        double copy = result.get("machine").get("copy_gbps").number();
        List<Json> runs = result.get("runs").list();
        assertThat(runs.stream()
                        .map(run -> (int) run.get("tokens").number() + " "
                                + run.get("blocks").text() + " "
                                + run.get("way").text()))
                .containsExactly(
                        "40 neighbours out",
                        "40 neighbours in",
                        "40 scattered out",
                        "40 scattered in",
                        "100 neighbours out",
                        "100 neighbours in",
                        "100 scattered out",
                        "100 scattered in");
        assertThat(runs).allSatisfy(run -> {
            isOfThisMachine(run);
            assertThat(run.get("kv_cache_dtype").text()).isEqualTo("fp8");
            double blocks = Math.ceil(run.get("tokens").number() / 16);
            assertThat(run.get("bytes").number()).isEqualTo(blocks * 16 * 2 * 2 * 2 * 64);
            timeAndSpeedAgree(run, 2 * run.get("bytes").number());
            isPercentOf(run, "percent_of_copy_bandwidth", copy);
        });
        assertThat(plot).content().contains("<svg");
        assertThat(kv8((Object[]) small.split(" ")).succeeds().out()).contains("% of copy", "neighbours");
    }

    /** Four times the last-level cache in FP8, 32 KiB of it in a layer of 16 tokens, and no more than 256 MiB or that. */
    @Test
    void writes_of_few_tokens_pass_over_more_than_processors_keep() {
        Json result = kv8((Object[])
                        "bench write --tokens 16,128 --rounds 1 --kv-cache-dtype fp8 --scales tensor --json".split(" "))
                .succeeds()
                .json();
        double cache = result.get("machine").get("last_level_cache_bytes").number();
        double cold = cache == 0 ? 1 << 27 : 4 * cache;
        assertThat(result.get("runs").list())
                .extracting(run -> run.get("layers").number())
                .containsExactly(Math.ceil(cold / (1 << 15)), Math.ceil(cold / (1 << 18)));
    }

    @Test
    void a_models_prompt_and_decode_are_measured_by_cache_dtype() {
        String small = "bench decode --model models/tiny-llama --prompt-tokens 20 --output-tokens 100 --rounds 3";
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
        for (String what : List.of("cast", "write", "move")) {
            assertThat(kv8("bench", what, "--help").succeeds().out()).contains("Example:", "--json", "--plot");
        }
        assertThat(help.lines()).allSatisfy(line -> assertThat(line).hasSizeLessThanOrEqualTo(100));
    }

    @Test
    void wrong_usage_says_what_is_allowed() {
        kv8("bench").isWrongUsage("attention");
        kv8("bench", "cast", "--from", "f32", "--to", "bf16").isWrongUsage("FP8");
        kv8("bench", "cast", "--elements=-1").isWrongUsage("--elements is -1");
        kv8("bench", "decode").isWrongUsage("--model");
        kv8("bench", "decode", "--model", "models/tiny-llama", "--rounds", "0").isWrongUsage("--rounds is 0");
        kv8("bench", "cast", "--scale", "0").isWrongUsage("scale");
        kv8("bench", "write", "--tokens", "0").isWrongUsage("--tokens is 0");
        kv8("bench", "write", "--head-size", "72").isWrongUsage("headSize is 72");
        kv8("bench", "attention", "--scales", "row").isWrongUsage("row");
        kv8("bench", "attention", "--batch", "0").isWrongUsage("--batch is 0");
        kv8("bench", "attention", "--queries", "0").isWrongUsage("--queries is 0");
        kv8("bench", "attention", "--queries", "65", "--context", "64").isWrongUsage("--queries is 65");
        kv8("bench", "attention", "--values", "large").isWrongUsage("large");
        kv8("bench", "move", "--layers", "0").isWrongUsage("--layers is 0");
        kv8("bench", "move", "--head-size", "72").isWrongUsage("headSize is 72");
        kv8("bench", "attention", "--head-size", "72").isWrongUsage("headSize is 72");
        kv8("bench", "attention", "--q-heads", "3", "--kv-heads", "2", "--context", "64", "--head-size", "64")
                .isWrongUsage("--q-heads is 3");
    }
}
