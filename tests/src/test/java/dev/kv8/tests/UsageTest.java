package dev.kv8.tests;

import static dev.kv8.tests.Command.kv8;
import static dev.kv8.tests.Command.kv8InNewJvm;
import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class UsageTest {
    @ParameterizedTest
    @ValueSource(
            strings = {
                "doctor",
                "generate",
                "serve",
                "calibrate",
                "eval",
                "needle",
                "inspect",
                "cast",
                "attend",
                "plan",
                "replay",
                "demo"
            })
    void every_command_has_help_with_an_example_and_json(String command) {
        String help = kv8(command, "--help").succeeds().out();
        assertThat(help).contains("Example:").contains("  kv8 " + command).contains("--json");
        assertThat(help.lines()).allSatisfy(line -> assertThat(line).hasSizeLessThanOrEqualTo(100));
        assertThat(kv8("--help").succeeds().out()).contains("\n  " + command + " ");
    }

    @Test
    void version_is_one_line() {
        assertThat(kv8("--version").succeeds().out()).startsWith("kv8 ").hasLineCount(1);
    }

    @Test
    void wrong_usage_has_exit_code_2_and_says_what_is_allowed() {
        kv8().isWrongUsage("subcommand");
        kv8("frobnicate").isWrongUsage("frobnicate");
        kv8("cast", "--from", "f32").isWrongUsage("--to");
        kv8("plan", "--memory", "1GiB").isWrongUsage("--model");
        kv8("generate", "--model", ".", "--prompt", "x", "--max-tokens", "many").isWrongUsage("--max-tokens", "many");
        kv8("generate", "--model", ".", "--prompt", "x", "--kv-cache-dtype", "fp9")
                .isWrongUsage("--kv-cache-dtype", "fp9", "fp8_e4m3, fp8_e5m2, bfloat16");
        kv8("eval", "--model", ".", "--text", "x", "--kv-cache-dtype", "auto,int4")
                .isWrongUsage("int4", "fp8_e4m3");
        kv8("eval", "--model", ".", "--text", "x", "--scales", "row").isWrongUsage("row", "dynamic");
        kv8("plan", "--model", ".", "--memory", "8 gigs").isWrongUsage("8 gigs", "GiB");
    }

    @Test
    void the_process_ends_with_the_exit_code() throws Exception {
        assertThat(kv8InNewJvm(List.of(), "--version").succeeds().err()).isEmpty();
        kv8InNewJvm(List.of(), "plan", "--model", "no-such-folder", "--memory", "1GiB")
                .fails("no-such-folder");
        kv8InNewJvm(List.of(), "plan").isWrongUsage("--memory");
    }

    @Test
    void a_backend_that_can_not_work_is_named_with_what_is_missing() throws Exception {
        for (String backend : List.of("cuda", "rocm")) {
            kv8InNewJvm(
                            List.of("-Dkv.backend=" + backend),
                            "cast",
                            "--from",
                            "e5m2",
                            "--to",
                            "f32",
                            "pom.xml",
                            "/dev/null")
                    .fails(backend, "dev.kv8:kv8-native", "linux-x86_64-" + backend, "-Dkv.backend=cpu");
        }
    }
}
