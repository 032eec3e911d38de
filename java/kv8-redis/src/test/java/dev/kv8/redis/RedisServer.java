package dev.kv8.redis;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.File;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;

/** A redis-server of this machine, on a free port of the loopback interface, with nothing on disk. */
final class RedisServer implements AutoCloseable {
    private final int port;
    private final Path folder;
    private final String[] options;
    private Process process;

    private RedisServer(int port, Path folder, String... options) throws IOException {
        this.port = port;
        this.folder = folder;
        this.options = options;
        this.process = start();
    }

    /** Skips the test, with the reason, where there is no redis-server. */
    static RedisServer start(String... options) throws IOException {
        assumeTrue(
                isOnPath("redis-server"),
                "redis-server is not installed, so nothing can be tested against it (Debian: apt-get install redis-server)");
        Path folder = Files.createTempDirectory("kv8-redis");
        return new RedisServer(freePort(), folder, options);
    }

    static boolean isOnPath(String program) {
        return Stream.of(String.valueOf(System.getenv("PATH")).split(File.pathSeparator))
                .anyMatch(folder -> Files.isExecutable(Path.of(folder, program)));
    }

    static int freePort() throws IOException {
        while (true) {
            try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
                if (socket.getLocalPort() < 55_000) { // a cluster's nodes talk 10,000 above
                    return socket.getLocalPort();
                }
            }
        }
    }

    private Process start() throws IOException {
        List<String> command = new ArrayList<>(List.of(
                "redis-server",
                "--port",
                Integer.toString(port),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
                "--dir",
                folder.toString(),
                "--enable-debug-command",
                "local"));
        command.addAll(List.of(options));
        Process started = new ProcessBuilder(command)
                .redirectErrorStream(true)
                .redirectOutput(folder.resolve("log").toFile())
                .start();
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
        while (!accepts()) {
            if (!started.isAlive() || System.nanoTime() > end) {
                throw new IOException("redis-server does not answer: " + Files.readString(folder.resolve("log")));
            }
            Thread.onSpinWait();
        }
        return started;
    }

    private boolean accepts() {
        try (Socket socket = new Socket(InetAddress.getLoopbackAddress(), port)) {
            return socket.isConnected();
        } catch (IOException e) {
            return false;
        }
    }

    int port() {
        return port;
    }

    String uri() {
        return "redis://127.0.0.1:" + port;
    }

    /** What redis-cli prints for a command. */
    String run(String... words) throws IOException, InterruptedException {
        List<String> command = new ArrayList<>(List.of("redis-cli", "-h", "127.0.0.1", "-p", Integer.toString(port)));
        command.addAll(List.of(words));
        Process client = new ProcessBuilder(command).redirectErrorStream(true).start();
        String output = new String(client.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        client.waitFor();
        return output.strip();
    }

    /** As kill -9. */
    void kill() throws InterruptedException {
        process.destroyForcibly().waitFor();
    }

    /** Another one on the same port, empty. */
    void restart() throws IOException {
        process = start();
    }

    /** Stops it from doing anything while its connections stay. */
    void freeze() throws IOException, InterruptedException {
        signal("STOP");
    }

    void thaw() throws IOException, InterruptedException {
        signal("CONT");
    }

    private void signal(String name) throws IOException, InterruptedException {
        new ProcessBuilder("kill", "-" + name, Long.toString(process.pid()))
                .start()
                .waitFor();
    }

    @Override
    public void close() throws IOException {
        process.destroyForcibly();
        try (Stream<Path> files = Files.walk(folder)) {
            for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
                Files.deleteIfExists(file);
            }
        }
    }
}
