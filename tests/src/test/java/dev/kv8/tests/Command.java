package dev.kv8.tests;

import static java.nio.charset.StandardCharsets.UTF_8;

import dev.kv8.cli.Kv8;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.assertj.core.api.Assertions;

/** Runs the kv8 command, inside this JVM or in one of its own, and keeps what it printed. */
record Command(String line, int exitCode, String out, String err) {
    private static final long LIMIT_SECONDS = 120;

    /** In this JVM: quick, and enough wherever properties and the process's end don't matter. */
    static Command kv8(Object... arguments) {
        String[] words = words(arguments);
        StringWriter out = new StringWriter();
        StringWriter err = new StringWriter();
        int exitCode = Kv8.run(new PrintWriter(out, true), new PrintWriter(err, true), words);
        return new Command(String.join(" ", words), exitCode, out.toString(), err.toString());
    }

    /** In a JVM of its own, with further options for it. */
    static Command kv8InNewJvm(List<String> jvmOptions, Object... arguments) throws IOException, InterruptedException {
        List<String> line = new ArrayList<>(List.of(java(), "--enable-native-access=ALL-UNNAMED"));
        String cache = System.getProperty("org.bytedeco.javacpp.cachedir");
        if (cache != null) {
            line.add("-Dorg.bytedeco.javacpp.cachedir=" + cache);
        }
        line.addAll(jvmOptions);
        line.addAll(List.of("-cp", System.getProperty("java.class.path"), Kv8.class.getName()));
        line.addAll(List.of(words(arguments)));
        return process(line);
    }

    static String java() {
        return Path.of(System.getProperty("java.home"), "bin", "java").toString();
    }

    static Command process(List<String> line) throws IOException, InterruptedException {
        Path out = Files.createTempFile("kv8-out", ".txt");
        Path err = Files.createTempFile("kv8-err", ".txt");
        try {
            Process process = new ProcessBuilder(line)
                    .redirectInput(
                            ProcessBuilder.Redirect.from(Path.of("/dev/null").toFile()))
                    .redirectOutput(out.toFile())
                    .redirectError(err.toFile())
                    .start();
            if (!process.waitFor(LIMIT_SECONDS, TimeUnit.SECONDS)) {
                process.destroyForcibly();
                throw new AssertionError(
                        "Not done after " + LIMIT_SECONDS + " s: " + line + "\n" + Files.readString(err));
            }
            return new Command(
                    String.join(" ", line),
                    process.exitValue(),
                    Files.readString(out, UTF_8),
                    Files.readString(err, UTF_8));
        } finally {
            Files.delete(out);
            Files.delete(err);
        }
    }

    private static String[] words(Object[] arguments) {
        return Stream.of(arguments).map(Object::toString).toArray(String[]::new);
    }

    /** Done, and with nothing but the result on standard output. */
    Command succeeds() {
        Assertions.assertThat(exitCode).as("%s%n%s%s", line, out, err).isZero();
        return this;
    }

    /** Failed with one line on standard error that has these words in it. */
    Command fails(String... words) {
        return endsWith(1, words);
    }

    /** Refused as wrong usage. */
    Command isWrongUsage(String... words) {
        return endsWith(2, words);
    }

    private Command endsWith(int code, String... words) {
        Assertions.assertThat(exitCode).as("%s%n%s%s", line, out, err).isEqualTo(code);
        Assertions.assertThat(out).as(line).isEmpty();
        Assertions.assertThat(err).as(line).startsWith("kv8: ").doesNotContain("\tat ");
        String message = err.lines().findFirst().orElseThrow();
        Assertions.assertThat(message).as(line).contains(words);
        return this;
    }

    /** Standard output as one JSON object. */
    Json json() {
        return Json.parse(out);
    }
}
