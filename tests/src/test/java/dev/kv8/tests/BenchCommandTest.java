package dev.kv8.tests;

import static dev.kv8.tests.Command.kv8;
import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import org.junit.jupiter.api.Test;

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
    void the_table_names_the_machine() {
        assertThat(kv8((Object[]) SMALL.split(" ")).succeeds().out())
                .contains("threads", "GB/s", "channel", "vs tensor");
    }

    @Test
    void help_has_an_example() {
        assertThat(kv8("bench", "--help").succeeds().out()).contains("Example:", "attention");
        String help = kv8("bench", "attention", "--help").succeeds().out();
        assertThat(help).contains("Example:", "--json", "dynamic");
        assertThat(help.lines()).allSatisfy(line -> assertThat(line).hasSizeLessThanOrEqualTo(100));
    }

    @Test
    void wrong_usage_says_what_is_allowed() {
        kv8("bench").isWrongUsage("attention");
        kv8("bench", "attention", "--scales", "row").isWrongUsage("row");
        kv8("bench", "attention", "--batch", "0").isWrongUsage("--batch is 0");
        kv8("bench", "attention", "--head-size", "72").isWrongUsage("headSize is 72");
        kv8("bench", "attention", "--q-heads", "3", "--kv-heads", "2", "--context", "64", "--head-size", "64")
                .isWrongUsage("--q-heads is 3");
    }
}
