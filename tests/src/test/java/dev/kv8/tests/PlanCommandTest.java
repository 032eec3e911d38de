package dev.kv8.tests;

import static dev.kv8.tests.Command.kv8;
import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class PlanCommandTest {
    private static final Path MODEL = Path.of("models", "tiny-llama");

    @Test
    void fp8_holds_twice_the_blocks_of_auto_in_the_same_bytes() {
        List<Json> plans = kv8("plan", "--model", MODEL, "--memory", "3MiB", "--json")
                .succeeds()
                .json()
                .get("plans")
                .list();
        Json auto = plans.get(0);
        Json fp8 = plans.get(1);
        assertThat(auto.get("kv_cache_dtype").text()).isEqualTo("auto");
        assertThat(auto.get("stored_dtype").text()).isEqualTo("bfloat16");
        assertThat(auto.get("cache_bytes_per_token").number()).isEqualTo(3072);
        assertThat(auto.get("tokens").number()).isEqualTo(1024);
        assertThat(fp8.get("stored_dtype").text()).isEqualTo("e4m3fn");
        assertThat(fp8.get("blocks").number())
                .isGreaterThanOrEqualTo(1.98 * auto.get("blocks").number());
    }

    @Test
    void sequences_are_counted_in_whole_blocks() {
        String shape = "plan --layers 1 --kv-heads 1 --head-size 64 --memory 16384 --kv-cache-dtype fp8 --json";
        Json plan = plans(shape + " --block-size 32 --length 32,33,128").get(0);
        assertThat(plan.get("blocks").number()).isEqualTo(4);
        assertThat(plan.get("sequences").list().stream().map(s -> s.get("count").number()))
                .containsExactly(4.0, 2.0, 1.0);
    }

    @Test
    void dynamic_scales_take_their_bytes() {
        String shape =
                "plan --layers 2 --kv-heads 4 --head-size 128 --memory 1GiB --kv-cache-dtype fp8,bfloat16 --json";
        List<Json> fixed = plans(shape);
        List<Json> dynamic = plans(shape + " --dynamic-scales");
        assertThat(dynamic.get(0).get("cache_bytes_per_token").number())
                .isGreaterThanOrEqualTo(
                        fixed.get(0).get("cache_bytes_per_token").number() + 2 * 4 * 2 * 4);
        assertThat(dynamic.get(1)).isEqualTo(fixed.get(1));
    }

    @Test
    void tiers_hold_more_of_the_same_blocks() {
        String shape =
                "plan --layers 1 --kv-heads 1 --head-size 64 --memory 16384 --kv-cache-dtype fp8 --block-size 32";
        List<Json> tiers = plans(shape + " --tier host=8448,files=8447 --json")
                .get(0)
                .get("tiers")
                .list();
        assertThat(tiers.stream().map(tier -> tier.get("name").text())).containsExactly("host", "files");
        assertThat(tiers.stream().map(tier -> tier.get("tokens").number()))
                .as("a block takes 4,096 bytes, and 128 more in a tier")
                .containsExactly(64.0, 32.0);
        assertThat(kv8((Object[]) (shape + " --tier host=1MiB").split(" "))
                        .succeeds()
                        .out())
                .contains("tokens in host, 1 MiB");
        kv8((Object[]) (shape + " --tier host").split(" ")).isWrongUsage("--tier");
        kv8((Object[]) (shape + " --tier host=much").split(" ")).isWrongUsage("--tier", "much");
    }

    @Test
    void the_table_has_a_row_for_each_dtype() {
        String table = kv8("plan", "--model", MODEL, "--memory", "1MiB", "--kv-cache-dtype", "float32,fp8_e5m2")
                .succeeds()
                .out();
        assertThat(table).contains("6 layers", "2 KV heads of 64", "bytes/token", "\nfloat32 ", "\nfp8_e5m2 ");
    }

    @Test
    void what_can_not_be_planned_is_refused(@TempDir Path folder) throws Exception {
        kv8("plan", "--model", folder.resolve("none"), "--memory", "1GiB").fails("none");
        kv8("plan", "--model", folder, "--memory", "1GiB").fails("config.json");
        Files.writeString(folder.resolve("config.json"), "{\"architectures\":[\"GPT2LMHeadModel\"]}");
        kv8("plan", "--model", folder, "--memory", "1GiB").fails("GPT2LMHeadModel", "LlamaForCausalLM");
        kv8("plan", "--model", MODEL, "--memory", "100").isWrongUsage("100 B", "block");
        kv8("plan", "--model", MODEL, "--memory", "1MiB", "--block-size", "17").isWrongUsage("17");
        kv8("plan", "--model", MODEL, "--memory", "1MiB", "--length", "0").isWrongUsage("--length");
        kv8("plan", "--model", MODEL, "--memory", "1MiB", "--kv-cache-dtype", "auto", "--dynamic-scales")
                .isWrongUsage("--dynamic-scales", "--kv-cache-dtype fp8");
        kv8("plan", "--memory", "1MiB", "--layers", 3).isWrongUsage("--kv-heads", "--head-size");
        kv8("plan", "--memory", "1MiB", "--layers", 3, "--kv-heads", 1, "--head-size", 64, "--model", MODEL)
                .isWrongUsage("--model", "--layers");
    }

    @Test
    void a_chart_can_be_drawn(@TempDir Path folder) throws Exception {
        for (String dtypes : new String[] {"fp8", "auto,fp8,fp8_e5m2,float32"}) {
            Path chart = folder.resolve(dtypes + ".svg");
            kv8("plan", "--model", MODEL, "--memory", "3MiB", "--kv-cache-dtype", dtypes, "--plot", chart)
                    .succeeds();
            assertThat(Files.readString(chart)).contains("<svg");
        }
    }

    private static List<Json> plans(String line) {
        return kv8((Object[]) line.split(" ")).succeeds().json().get("plans").list();
    }
}
