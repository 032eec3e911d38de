package dev.kv8.tests;

import static dev.kv8.tests.Command.kv8;
import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.zip.GZIPOutputStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class ReplayCommandTest {
    private static final Path CONVERSATION = Path.of("traces", "mooncake-fast25-conversation.tsv.gz");

    @TempDir
    static Path folder;

    @Test
    void lru_hits_on_the_conversation_trace_are_those_published_with_it() {
        List<Json> runs = runs(CONVERSATION, "lru", "1000,2000,5000,10000,20000,50000,100000");
        assertThat(runs.stream().map(run -> run.get("hits").number()))
                .containsExactly(12847.0, 15665.0, 32260.0, 61046.0, 83035.0, 102290.0, 104924.0);
        for (Json run : runs) {
            assertThat(run.get("references").number()).isEqualTo(288_500);
            assertThat(run.get("hit_rate").number()).isEqualTo(run.get("hits").number() / 288_500);
            assertThat(run.get("ns_per_reference").number()).isPositive();
        }
    }

    @Test
    void arc_keeps_its_lead_over_lru_on_the_conversation_trace() {
        List<Json> runs = runs(CONVERSATION, "arc", "1000,5000,10000,20000");
        double[] least = {0.073, 0.140, 0.223, 0.296};
        for (int i = 0; i < least.length; i++) {
            assertThat(runs.get(i).get("policy").text()).isEqualTo("arc");
            assertThat(runs.get(i).get("hit_rate").number())
                    .as("%s", runs.get(i).get("capacity"))
                    .isGreaterThanOrEqualTo(least[i]);
        }
    }

    /** The target: at most a fifth of the blocks is written, and no hit is lost by it. */
    @Test
    void a_tier_written_on_the_second_use_gets_few_blocks_and_serves_no_fewer_hits() {
        for (String policy : List.of("lru", "arc")) {
            List<Json> runs = kv8(
                            "replay",
                            CONVERSATION,
                            "--policy",
                            policy,
                            "--capacity",
                            1000,
                            "--tier",
                            8000,
                            "--write-on",
                            "first,second",
                            "--json")
                    .succeeds()
                    .json()
                    .get("runs")
                    .list();
            assertThat(runs).hasSize(2);
            Json first = runs.get(0);
            Json second = runs.get(1);
            assertThat(second.get("written_share").number()).as(policy).isLessThanOrEqualTo(0.2);
            assertThat(second.get("total_hit_rate").number())
                    .as(policy)
                    .isGreaterThanOrEqualTo(first.get("total_hit_rate").number());
        }
    }

    /** Half as many blocks with all layers, which take the same memory, would serve 21.16 % (LRU) and 22.43 % (ARC) in the last case. */
    @Test
    void windows_leave_room_for_what_others_go_on_from() {
        Json result = kv8("replay", CONVERSATION, "--window", 8, "--capacity", "5000,10000,20000", "--json")
                .succeeds()
                .json();
        assertThat(result.get("window").number()).isEqualTo(8);
        List<Json> runs = result.get("runs").list();
        assertThat(runs.subList(0, 3).stream().map(run -> run.get("hits").number()))
                .as("lru")
                .containsExactly(22138.0, 45520.0, 69134.0);
        double[] least = {0.110, 0.174, 0.256};
        for (int i = 0; i < least.length; i++) {
            assertThat(runs.get(3 + i).get("hit_rate").number())
                    .as("arc %s", runs.get(3 + i).get("capacity"))
                    .isGreaterThanOrEqualTo(least[i]);
        }
    }

    @Test
    void a_trace_is_counted_by_hand() throws Exception {
        Path trace = trace("# comment", "0\t40\t7\t0-2", "", "3\t33\t9\t0,1,7", "9\t64\t0\t0-2,8");
        for (String policy : List.of("lru", "arc")) {
            Json run = runs(trace, policy, "10").get(0);
            assertThat(run.get("capacity").number()).isEqualTo(10);
            assertThat(run.get("references").number()).isEqualTo(10);
            assertThat(run.get("hits").number()).as(policy).isEqualTo(2 + 3);
            assertThat(run.get("evictions").number()).isZero();
            assertThat(runs(trace, policy, "3").get(0).get("hits").number())
                    .as(policy)
                    .isEqualTo(2 + 2);
        }
    }

    @Test
    void runs_come_by_policy_and_capacity_and_each_once() throws Exception {
        Path trace = trace("0\t1\t1\t5");
        List<Json> runs = runs(trace, "arc,LRU,arc", "7,3,7");
        assertThat(runs.stream()
                        .map(run -> run.get("policy").text()
                                + (int) run.get("capacity").number()))
                .containsExactly("arc7", "arc3", "lru7", "lru3");
        String table = kv8("replay", trace, "--capacity", 3).succeeds().out();
        assertThat(table).contains("trace.tsv: 1 requests, 1 blocks", "policy", "ns/reference", "\nlru ", "\narc ");
    }

    @Test
    void a_compressed_trace_is_the_same_trace() throws Exception {
        Path plain = trace("0\t1\t1\t5-9", "1\t1\t1\t5-7");
        Path compressed = folder.resolve("trace.gz");
        try (OutputStream out = new GZIPOutputStream(Files.newOutputStream(compressed))) {
            out.write(Files.readAllBytes(plain));
        }
        assertThat(runs(compressed, "lru", "8").get(0).get("hits").number()).isEqualTo(3);
    }

    @Test
    void a_block_size_checks_the_counts_and_tells_capacities_in_tokens() throws Exception {
        Path trace = trace("0\t33\t1\t0-2", "1\t48\t1\t0-2");
        Json result = kv8("replay", trace, "--capacity", 4, "--block-size", 16, "--json")
                .succeeds()
                .json();
        assertThat(result.get("block_size").number()).isEqualTo(16);
        assertThat(result.get("runs").list().get(0).get("capacity_tokens").number())
                .isEqualTo(64);
        kv8("replay", trace, "--capacity", 4, "--block-size", 17)
                .fails("line 1", "33 input tokens are not 3 blocks of 17", "--block-size");
    }

    @ParameterizedTest
    @ValueSource(strings = {"hits.svg", "hits.png"})
    void hit_rates_are_drawn_where_asked(String name) throws Exception {
        Path plot = folder.resolve(name);
        kv8("replay", trace("0\t1\t1\t5", "1\t1\t1\t5"), "--capacity", "1,10,100", "--plot", plot)
                .succeeds();
        assertThat(new String(Arrays.copyOf(Files.readAllBytes(plot), 400), UTF_8))
                .contains(name.endsWith("svg") ? "svg" : "PNG");
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "0 1 1 | 3 fields",
                "0 1 1 2 3 | 5 fields",
                "x 1 1 2 | timestamp_ms has \"x\"",
                "0 -1 1 2 | input_tokens has \"-1\"",
                "0 1 1.5 2 | output_tokens has \"1.5\"",
                "0 1 1 , | block_ids has \"\"",
                "0 1 1 1,,2 | block_ids has \"\"",
                "0 1 1 -3 | block_ids has \"-3\"",
                "0 1 1 3- | block_ids has \"\"",
                "0 1 1 7-5 | 7-5 ends before it begins",
                "0 1 1 0-99999999999 | more than 16777216 blocks",
                "0 1 1 0-9223372036854775807 | more than 16777216 blocks",
                "0 1 1 99999999999999999999 | whole number from 0 to 9223372036854775807",
                "0 1 1 4-6,5 | names block 5 twice"
            })
    void a_malformed_line_is_refused_by_its_number(String line, String message) throws Exception {
        Path trace = trace("# comment", "0\t1\t1\t1-4", line.replace(' ', '\t'));
        kv8("replay", trace, "--capacity", 10).fails("trace.tsv, line 3: ", message);
    }

    @Test
    void what_can_not_be_replayed_is_refused() throws Exception {
        kv8("replay", folder.resolve("none"), "--capacity", 1).fails("none");
        kv8("replay", folder, "--capacity", 1).fails("is a folder");
        kv8("replay", trace("# nothing"), "--capacity", 1).fails("trace.tsv has no request");
        Path cut = folder.resolve("cut.gz");
        Files.write(cut, Arrays.copyOf(Files.readAllBytes(CONVERSATION), 100_000));
        kv8("replay", cut, "--capacity", 1000).fails("cut.gz is damaged after line");
        Files.write(cut, new byte[] {0x1f, (byte) 0x8b});
        kv8("replay", cut, "--capacity", 1000).fails("cut.gz is damaged after line 0: it is cut off");
        Files.write(cut, new byte[] {0x1f, (byte) 0x8b, 0, 0, 0, 0, 0, 0, 0, 0});
        kv8("replay", cut, "--capacity", 1000).fails("cut.gz is damaged after line 0");
        kv8("replay", CONVERSATION).isWrongUsage("--capacity");
        kv8("replay", CONVERSATION, "--capacity", "0").isWrongUsage("--capacity is 0", "67108863");
        kv8("replay", CONVERSATION, "--capacity", "1,67108865").isWrongUsage("--capacity is 67108865");
        kv8("replay", CONVERSATION, "--capacity", "many").isWrongUsage("--capacity", "many");
        kv8("replay", CONVERSATION, "--capacity", 1, "--policy", "fifo").isWrongUsage("fifo", "lru, arc");
        kv8("replay", CONVERSATION, "--capacity", 1, "--block-size", 0).isWrongUsage("--block-size is 0");
        kv8("replay", CONVERSATION, "--capacity", 1, "--plot", "hits.pdf").isWrongUsage("hits.pdf", ".svg");
        kv8("replay", CONVERSATION, "--capacity", 9, "--window", 0).isWrongUsage("--window is 0", "67108863");
        kv8("replay", CONVERSATION, "--capacity", "9,1", "--window", 2).isWrongUsage("--capacity is 1", "2 pages");
        kv8("replay", CONVERSATION, "--capacity", 9, "--window", 2, "--tier", 9).isWrongUsage("--window and --tier");
        kv8("replay", "--capacity", 1).isWrongUsage("TRACE");
    }

    @Test
    void a_line_that_memory_would_not_hold_is_refused_when_it_is_unpacked() throws Exception {
        Path bomb = folder.resolve("bomb.gz");
        byte[] zeros = "0".repeat(1 << 20).getBytes(UTF_8);
        try (OutputStream out = new GZIPOutputStream(Files.newOutputStream(bomb))) {
            out.write("0\t1\t1\t1\n".getBytes(UTF_8));
            for (int i = 0; i <= 16; i++) {
                out.write(zeros);
            }
        }
        kv8("replay", bomb, "--capacity", 10).fails("bomb.gz, line 2: it has more than 16777216 characters");
    }

    private static Path trace(String... lines) throws IOException {
        return Files.write(folder.resolve("trace.tsv"), List.of(lines));
    }

    private static List<Json> runs(Path trace, String policies, String capacities) {
        return kv8("replay", trace, "--policy", policies, "--capacity", capacities, "--json")
                .succeeds()
                .json()
                .get("runs")
                .list();
    }
}
