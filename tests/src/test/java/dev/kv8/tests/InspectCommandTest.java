package dev.kv8.tests;

import static dev.kv8.tests.Command.kv8;
import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class InspectCommandTest {
    private static final Path MODEL = Path.of("models", "tiny-llama");
    private static final Path OUTLIER = Path.of("models", "tiny-llama-outlier");

    @TempDir
    static Path folder;

    private static Path text;

    @BeforeAll
    static void writeText() throws Exception {
        text = folder.resolve("text.txt");
        Files.writeString(text, Files.readString(MODEL.resolve("eval.txt")).substring(0, 1000));
    }

    @Test
    void a_checkpoint_without_scales_says_so() {
        String out = kv8("inspect", MODEL).succeeds().out();
        assertThat(out)
                .contains("6 layers, 2 KV heads of 64", "kv_cache_scheme: none", "none stored", "scale 1.0")
                .doesNotContain("holds up to  ");
    }

    @Test
    void a_text_shows_the_heads_that_would_saturate() {
        Json result = kv8("inspect", OUTLIER, "--text", text, "--context", 128, "--json")
                .succeeds()
                .json();
        List<Json> heads = result.get("heads").list();
        assertThat(heads).hasSize(6 * 2 * 2);
        assertThat(result.get("layers").number()).isEqualTo(6);
        for (Json head : heads) {
            double layer = head.get("layer").number();
            boolean loud = head.get("head").number() == layer % 2;
            assertThat(head.get("amax").number() > 448).as("%s", head).isEqualTo(loud);
            assertThat(head.get("range_used").number() > 1).as("%s", head).isEqualTo(loud);
        }
        String table = kv8("inspect", OUTLIER, "--text", text, "--context", 128)
                .succeeds()
                .out();
        assertThat(table).contains("12 of 24 heads hold values beyond their scale's range");
        assertThat(kv8("inspect", MODEL, "--text", text, "--context", 128)
                        .succeeds()
                        .out())
                .contains("No head saturates on this text.");
    }

    @Test
    void the_heat_map_is_written_where_asked() throws Exception {
        Path plot = folder.resolve("heat.svg");
        kv8("inspect", MODEL, "--text", text, "--context", 128, "--plot", plot).succeeds();
        assertThat(Files.readString(plot).strip()).containsPattern("(?s)<svg .*</svg\\s*>$");
    }

    @Test
    void what_can_not_be_inspected_is_refused() {
        kv8("inspect", folder.resolve("none")).fails("none");
        kv8("inspect", MODEL, "--text", folder.resolve("none.txt")).fails("none.txt");
        kv8("inspect", MODEL, "--text", text, "--context", 4096).fails("context is 4096", "2048");
        kv8("inspect", MODEL, "--text", text, "--context", 0).isWrongUsage("--context");
        kv8("inspect", MODEL, "--plot", "heat.pdf").isWrongUsage("heat.pdf", ".svg");
        kv8("inspect").isWrongUsage("MODEL_DIR");
    }
}
