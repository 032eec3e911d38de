package dev.kv8.natives;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import org.bytedeco.javacpp.Loader;

/** The directory that JavaCPP extracts native libraries to, and whether they can be mapped from there. */
final class CacheDirectory {
    /** The system property that moves it. */
    static final String PROPERTY = "org.bytedeco.javacpp.cachedir";

    private CacheDirectory() {}

    /** Where it is; empty when JavaCPP finds no directory that it can write to. */
    static Optional<Path> path() {
        try {
            return Optional.of(Loader.getCacheDir().toPath());
        } catch (IOException e) {
            return Optional.empty();
        }
    }

    /** Why native code in {@code directory} can't be used, with the cure; empty when it can. */
    static Optional<String> problem(Path directory) {
        Path probe = null;
        try {
            probe = Files.createTempFile(directory, "kv8-exec-", ".test");
            // access(2) refuses this on a noexec mount, where the library could not be mapped either.
            if (!probe.toFile().setExecutable(true) || !Files.isExecutable(probe)) {
                return Optional.of(noexec(directory, mountOf(directory, Host.lines(Path.of("/proc/self/mounts")))));
            }
            return Optional.empty();
        } catch (IOException e) {
            return Optional.of("The cache directory " + directory + " cannot be written to (" + e + "). Set -D"
                    + PROPERTY + "=DIR to a directory that can be written to and executed from.");
        } finally {
            delete(probe);
        }
    }

    private static void delete(@org.jspecify.annotations.Nullable Path probe) {
        if (probe != null) {
            // An empty file left behind harms nobody.
            probe.toFile().delete();
        }
    }

    static String noexec(Path directory, Optional<Mount> mount) {
        return "The cache directory " + directory + " is on a file system from which no code may be executed"
                + mount.map(m -> ": " + m.point() + " (" + m.type() + ") is mounted " + m.options())
                        .orElse("")
                + ". Set -D" + PROPERTY + "=DIR to a directory on a file system without noexec, or mount it with exec.";
    }

    /** The mount that {@code path} lies on, from the lines of {@code /proc/self/mounts}. */
    static Optional<Mount> mountOf(Path path, List<String> mounts) {
        return mounts.stream()
                .map(line -> line.split(" "))
                .filter(fields -> fields.length >= 4)
                .map(fields -> new Mount(unescape(fields[1]), fields[2], fields[3]))
                .filter(mount -> path.startsWith(Path.of(mount.point())))
                .max(Comparator.comparingInt(mount -> mount.point().length()));
    }

    /** The kernel writes blanks, tabs, line ends and backslashes of a path as octal numbers. */
    private static String unescape(String field) {
        return field.replace("\\040", " ")
                .replace("\\011", "\t")
                .replace("\\012", "\n")
                .replace("\\134", "\\");
    }

    record Mount(String point, String type, String options) {}
}
