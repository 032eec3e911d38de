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
import org.junit.jupiter.api.Test;

/** The page in a real browser; skipped where there is none. */
class PageTest {
    private static final String LONG =
            "{\"prompt\":\"In the beginning\",\"max_tokens\":2000,\"ignore_eos\":true,\"stream\":true,\"n\":2}";

    private Browser browser(TinyServer tiny) throws IOException, InterruptedException {
        Optional<Path> installed = Browser.installed();
        assumeTrue(installed.isPresent(), "There is no Chromium or Chrome on the PATH, so the page is not tested.");
        // Not one that is deleted after the test: a browser that has ended may still write to its profile.
        Path folder = Files.createTempDirectory(Files.createDirectories(Path.of("target")), "browser");
        return Browser.open(installed.get(), folder.toAbsolutePath(), tiny.uri("/"));
    }

    private static int number(Browser page, String id) {
        return Integer.parseInt(page.text(id).replace(",", ""));
    }

    @Test
    void showsTheCacheAndTheTextsThatAreBeingWritten() throws Exception {
        try (TinyServer tiny = TinyServer.start();
                Browser page = browser(tiny)) {
            page.await("document.getElementById('running').textContent === '0'");
            assertThat(page.text("held")).isEqualTo("0");
            List<Socket> streams = new ArrayList<>();
            for (int i = 0; i < 8; i++) {
                streams.add(RawRequest.open(tiny.server.uri(), RawRequest.post("/v1/completions", LONG)));
            }
            page.await("document.getElementById('running').textContent === '16'");
            page.await("parseInt(document.getElementById('generated-rate').textContent.replace(/,/g, '')) > 0");
            assertThat(page.text("model")).isEqualTo(TinyServer.MODEL);
            assertThat(page.text("problem")).isEmpty();
            assertThat(number(page, "held")).isPositive();
            assertThat(number(page, "total"))
                    .isEqualTo(tiny.llm.cache().stats().totalBlocks())
                    .isEqualTo(number(page, "held") + number(page, "cached") + number(page, "free"));
            assertThat(number(page, "waiting")).isNotNegative();
            assertThat(page.text("hit-rate")).endsWith(" %");
            // The bar grows over 0.4 s, and a few blocks of many are less than the pixel that offsetWidth counts.
            page.await("document.getElementById('bar-held').getBoundingClientRect().width > 0");
            assertThat(page.evaluate("document.getElementById('rate-line').points.numberOfItems > 0"))
                    .isEqualTo("true");
            assertThat(isVisible(page, "ask")).as("the form for the key").isFalse();
            for (Socket stream : streams) {
                stream.close();
            }
            page.await("document.getElementById('running').textContent === '0'");
            assertThat(page.text("held")).isEqualTo("0");
        }
    }

    private static boolean isVisible(Browser page, String id) {
        return page.evaluate("document.getElementById('" + id + "').offsetHeight > 0")
                .equals("true");
    }

    @Test
    void asksForTheKeyWhereThereIsOneAndThenShowsTheCache() throws Exception {
        try (TinyServer tiny = TinyServer.start(config -> config.apiKey("sk-secret"));
                Browser page = browser(tiny)) {
            page.await("document.getElementById('problem').textContent.includes('API key')");
            assertThat(isVisible(page, "ask")).isTrue();
            assertThat(page.text("running")).isEqualTo("–");
            page.evaluate("document.getElementById('key').value = 'sk-secret',"
                    + " document.querySelector('#ask button').click()");
            page.await("document.getElementById('running').textContent === '0'");
            assertThat(isVisible(page, "ask")).isFalse();
        }
    }

    @Test
    void saysWhenTheServerDoesNotAnswer() throws Exception {
        try (TinyServer tiny = TinyServer.start();
                Browser page = browser(tiny)) {
            page.await("document.getElementById('running').textContent === '0'");
            tiny.server.close();
            page.await("document.getElementById('problem').textContent.includes('does not answer')");
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
