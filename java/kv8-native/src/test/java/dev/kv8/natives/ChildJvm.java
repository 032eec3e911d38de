package dev.kv8.natives;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** A JVM of its own that opens a backend, for what is decided once per process. */
final class ChildJvm {
    /** What it runs: prints the device's instruction set and threads, or the exception's message. */
    public static final class Main {
        private Main() {}

        public static void main(String[] names) {
            try (var backend = dev.kv8.KvBackend.open(names[0])) {
                System.out.println(backend.info().arch() + " " + backend.info().threads());
            } catch (RuntimeException e) {
                System.out.println(e.getClass().getSimpleName() + ": " + e.getMessage());
            }
        }
    }

    private final List<String> command = new ArrayList<>();
    private final Map<String, String> environment;

    private ChildJvm(List<String> prefix, Map<String, String> environment) {
        command.addAll(prefix);
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        this.environment = environment;
    }

    static ChildJvm java() {
        return new ChildJvm(List.of(), Map.of());
    }

    static ChildJvm java(Map<String, String> environment) {
        return new ChildJvm(List.of(), environment);
    }

    /** A JVM started by another command, which ends with "exec \"$@\"". */
    static ChildJvm javaAfter(String... prefix) {
        return new ChildJvm(List.of(prefix), Map.of());
    }

    ChildJvm with(String... arguments) {
        command.addAll(List.of(arguments));
        return this;
    }

    /** Where this JVM extracts native code to. */
    ChildJvm withUsualCache() {
        return with("-D" + CacheDirectory.PROPERTY + "=" + System.getProperty(CacheDirectory.PROPERTY));
    }

    /** Everything it printed, after opening {@code backend} with all of this JVM's class path. */
    String open(String backend) throws IOException, InterruptedException {
        return openWith(System.getProperty("java.class.path"), backend);
    }

    String openWith(String classPath, String backend) throws IOException, InterruptedException {
        return with("-cp", classPath, Main.class.getName(), backend).run();
    }

    String run() throws IOException, InterruptedException {
        ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
        builder.environment().putAll(environment);
        Process process = builder.start();
        String output = new String(process.getInputStream().readAllBytes(), java.nio.charset.StandardCharsets.UTF_8);
        if (!process.waitFor(60, TimeUnit.SECONDS)) {
            process.destroyForcibly();
        }
        return output;
    }
}
