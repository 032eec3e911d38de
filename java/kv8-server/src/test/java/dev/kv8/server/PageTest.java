package dev.kv8.server;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The page in a real browser, without a window; skipped where there is none. */
class PageTest {
    private static final String LONG =
            "{\"prompt\":\"In the beginning\",\"max_tokens\":2000,\"ignore_eos\":true,\"stream\":true,\"n\":2}";
    private static final int BROWSER_SECONDS = 120;

    @TempDir
    Path profile;

    private static Optional<Path> browser() {
        return Stream.of("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
                .flatMap(name -> Stream.of(System.getenv("PATH").split(":")).map(folder -> Path.of(folder, name)))
                .filter(Files::isExecutable)
                .findFirst();
    }

    /** The page as it stands after some seconds. */
    private String seen(TinyServer tiny, int milliseconds) throws IOException, InterruptedException {
        Optional<Path> browser = browser();
        assumeTrue(browser.isPresent(), "There is no Chromium or Chrome on the PATH, so the page is not tested.");
        Path out = profile.resolve("page.html");
        List<String> line = new ArrayList<>(List.of(
                browser.get().toString(),
                "--headless=new",
                "--no-sandbox", // needs user namespaces, which containers lack; it only opens the page of this test
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--user-data-dir=" + profile.resolve("profile"),
                "--virtual-time-budget=" + milliseconds,
                "--dump-dom",
                tiny.uri("/").toString()));
        Process process = new ProcessBuilder(line)
                .redirectOutput(out.toFile())
                .redirectError(profile.resolve("browser.log").toFile())
                .start();
        try {
            assertThat(process.waitFor(BROWSER_SECONDS, TimeUnit.SECONDS)).isTrue();
        } finally {
            process.destroyForcibly();
        }
        return Files.readString(out);
    }

    private static String text(String page, String id) {
        Matcher found = Pattern.compile("id=\"" + id + "\"[^>]*>([^<]*)<").matcher(page);
        assertThat(found.find()).as("%s in%n%s", id, page).isTrue();
        return found.group(1);
    }

    private static int number(String page, String id) {
        return Integer.parseInt(text(page, id).replace(",", ""));
    }

    @Test
    void showsTheCacheAndTheTextsThatAreBeingWritten() throws Exception {
        try (TinyServer tiny = TinyServer.start()) {
            tiny.stream("/v1/completions", LONG.replace("2000", "20"));
            List<Socket> streams = new ArrayList<>();
            for (int i = 0; i < 8; i++) {
                streams.add(RawRequest.open(tiny.server.uri(), RawRequest.post("/v1/completions", LONG)));
            }
            tiny.awaitRunning(16);
            String page = seen(tiny, 3500);
            for (Socket stream : streams) {
                stream.close();
            }
            assertThat(text(page, "model")).isEqualTo(TinyServer.MODEL);
            assertThat(text(page, "problem")).isEmpty();
            assertThat(number(page, "total"))
                    .isEqualTo(tiny.llm.cache().stats().totalBlocks())
                    .isEqualTo(number(page, "held") + number(page, "cached") + number(page, "free"));
            assertThat(number(page, "held")).isPositive();
            assertThat(number(page, "running")).isPositive();
            assertThat(number(page, "waiting")).isNotNegative();
            assertThat(number(page, "generated-rate")).isPositive();
            assertThat(text(page, "hit-rate")).endsWith(" %");
            assertThat(page)
                    .containsPattern("id=\"rate-line\"[^>]*points=\"\\d")
                    .contains("width: ");
        }
    }

    @Test
    void asksForTheKeyWhereThereIsOne() throws Exception {
        try (TinyServer tiny = TinyServer.start(config -> config.apiKey("sk-secret"))) {
            String page = seen(tiny, 500);
            assertThat(text(page, "problem")).contains("API key");
            assertThat(page).doesNotContain("id=\"ask\" class=\"card\" hidden");
            assertThat(text(page, "running")).isEqualTo("–");
        }
    }

    @Test
    void reachesNothingButThisServer() {
        try (TinyServer tiny = TinyServer.start()) {
            String page = tiny.get("/").body();
            assertThat(page).doesNotContain("http://", "https://", "src=", "@import", "url(");
            assertThat(tiny.get("/")
                            .headers()
                            .firstValue("content-security-policy")
                            .orElseThrow())
                    .contains("default-src 'none'", "connect-src 'self'");
        }
    }
}
