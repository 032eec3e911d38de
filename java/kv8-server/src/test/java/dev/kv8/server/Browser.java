package dev.kv8.server;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.net.http.WebSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/** A page in a Chromium without a window, asked by its debugging protocol what it shows. */
final class Browser implements AutoCloseable {
    private static final int START_SECONDS = 60;
    private static final JsonMapper JSON = JsonMapper.builder().build();

    private final Process process;
    private final WebSocket page;
    private final BlockingQueue<String> answers;

    private Browser(Process process, WebSocket page, BlockingQueue<String> answers) {
        this.process = process;
        this.page = page;
        this.answers = answers;
    }

    /** Where one is installed. */
    static Optional<Path> installed() {
        return Stream.of("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
                .flatMap(name -> Stream.of(System.getenv("PATH").split(":")).map(folder -> Path.of(folder, name)))
                .filter(Files::isExecutable)
                .findFirst();
    }

    static Browser open(Path executable, Path folder, URI url) throws IOException, InterruptedException {
        Path profile = folder.resolve("profile");
        Process process = new ProcessBuilder(
                        executable.toString(),
                        "--headless=new",
                        "--no-sandbox", // needs user namespaces, which containers lack; it only opens this test's page
                        "--disable-gpu",
                        "--disable-dev-shm-usage",
                        "--no-first-run",
                        "--remote-debugging-port=0",
                        "--user-data-dir=" + profile,
                        url.toString())
                .redirectOutput(folder.resolve("browser.out").toFile())
                .redirectError(folder.resolve("browser.err").toFile())
                .start();
        try {
            HttpClient http = HttpClient.newHttpClient();
            BlockingQueue<String> answers = new ArrayBlockingQueue<>(16);
            URI socket = debugger(process, http, profile.resolve("DevToolsActivePort"), url);
            return new Browser(
                    process,
                    http.newWebSocketBuilder()
                            .buildAsync(socket, new Answers(answers))
                            .join(),
                    answers);
        } catch (IOException | InterruptedException | RuntimeException e) {
            process.destroyForcibly();
            throw e;
        }
    }

    /** Waits until the browser has written down its port and opened the page. */
    private static URI debugger(Process process, HttpClient http, Path portFile, URI url)
            throws IOException, InterruptedException {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(START_SECONDS);
        while (System.nanoTime() < deadline && process.isAlive()) {
            if (Files.exists(portFile) && !Files.readString(portFile).isBlank()) {
                String port = Files.readAllLines(portFile).get(0);
                String list = http.send(
                                HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + port + "/json"))
                                        .build(),
                                BodyHandlers.ofString())
                        .body();
                for (JsonNode target : JSON.readTree(list)) {
                    if (target.path("url").asText().startsWith(url.toString())) {
                        return URI.create(target.get("webSocketDebuggerUrl").asText());
                    }
                }
            }
            TimeUnit.MILLISECONDS.sleep(50);
        }
        throw new IOException("The browser did not open " + url + " within " + START_SECONDS + " s.");
    }

    /** What a JavaScript expression gives as text. */
    String evaluate(String expression) {
        try {
            String request = JSON.createObjectNode()
                    .put("id", 1)
                    .put("method", "Runtime.evaluate")
                    .set("params", JSON.createObjectNode().put("expression", "String(" + expression + ")"))
                    .toString();
            page.sendText(request, true).join();
            String answer = answers.poll(START_SECONDS, TimeUnit.SECONDS);
            if (answer == null) {
                throw new AssertionError("The browser does not answer.");
            }
            return JSON.readTree(answer).at("/result/result/value").asText();
        } catch (IOException | InterruptedException e) {
            throw new AssertionError(expression, e);
        }
    }

    /** The text of the element with this id. */
    String text(String id) {
        return evaluate("document.getElementById('" + id + "').textContent");
    }

    /** Waits until an expression is true. */
    void await(String expression) {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(START_SECONDS);
        while (!evaluate(expression).equals("true")) {
            if (System.nanoTime() > deadline) {
                throw new AssertionError("Never true: " + expression + "\n" + evaluate("document.body.innerText"));
            }
            TinyServer.pause();
        }
    }

    @Override
    public void close() {
        page.abort();
        process.destroy();
        process.onExit().orTimeout(START_SECONDS, TimeUnit.SECONDS).join();
    }

    /** Joins the parts of each message. */
    private static final class Answers implements WebSocket.Listener {
        private final BlockingQueue<String> whole;
        private final StringBuilder parts = new StringBuilder();

        Answers(BlockingQueue<String> whole) {
            this.whole = whole;
        }

        @Override
        public @Nullable CompletionStage<?> onText(WebSocket socket, CharSequence data, boolean last) {
            parts.append(data);
            if (last) {
                whole.add(parts.toString());
                parts.setLength(0);
            }
            socket.request(1);
            return null;
        }
    }
}
