package dev.kv8;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import javax.tools.ToolProvider;

/**
 * A bug as a patch: what it is, a report of another engine that it is akin to, a line {@code Caught by: Test,Test#method} and a
 * unified diff of one class of this package. Its lines must be found as they stand in one place; line numbers don't matter.
 */
record SeededBug(String name, List<String> caughtBy, String patch) {
    private static final Path BUGS = Path.of("src", "test", "bugs");
    private static final Path SOURCES = Path.of("src", "main", "java", "dev", "kv8");
    private static final String CAUGHT_BY = "Caught by: ";

    static List<SeededBug> all() throws IOException {
        try (Stream<Path> files = Files.list(BUGS)) {
            List<SeededBug> bugs = new ArrayList<>();
            for (Path file : files.sorted().toList()) {
                bugs.add(read(file));
            }
            return bugs;
        }
    }

    private static SeededBug read(Path file) throws IOException {
        String patch = Files.readString(file);
        String tests = patch.lines()
                .filter(line -> line.startsWith(CAUGHT_BY))
                .findFirst()
                .orElseThrow(() -> new IOException(file + " has no line \"" + CAUGHT_BY + "...\"."))
                .substring(CAUGHT_BY.length());
        String name = file.getFileName().toString().replace(".patch", "");
        return new SeededBug(name, List.of(tests.split(",")), patch);
    }

    /** Compiles the changed class into {@code folder}, which is to be before the others on the class path; returns it. */
    Path plant(Path folder) throws IOException {
        Path source = folder.resolve("source").resolve(changedFile());
        Path classes = Files.createDirectories(folder.resolve("classes"));
        Files.createDirectories(source.getParent());
        Files.writeString(source, changed(Files.readString(SOURCES.resolve(changedFile()))));
        int result = ToolProvider.getSystemJavaCompiler()
                .run(
                        null,
                        null,
                        null,
                        "-nowarn",
                        "-proc:none",
                        "-cp",
                        System.getProperty("java.class.path"),
                        "-d",
                        classes.toString(),
                        source.toString());
        if (result != 0) {
            throw new IOException("With the bug " + name + ", " + changedFile() + " does not compile.");
        }
        return classes;
    }

    private String changedFile() {
        return patch.lines()
                .filter(line -> line.startsWith("+++ b/"))
                .findFirst()
                .orElseThrow()
                .substring("+++ b/".length())
                .strip();
    }

    private String changed(String source) throws IOException {
        String result = source;
        for (String hunk : hunks()) {
            String old = side(hunk, '-');
            int at = result.indexOf(old);
            if (at < 0 || result.indexOf(old, at + 1) >= 0) {
                throw new IOException("The bug " + name + " no longer fits " + changedFile()
                        + ": plant it anew. These lines are " + (at < 0 ? "not there" : "there twice") + ":\n" + old);
            }
            result = result.substring(0, at) + side(hunk, '+') + result.substring(at + old.length());
        }
        return result;
    }

    private List<String> hunks() {
        String[] parts = patch.split("(?m)^@@ .*\n");
        return List.of(parts).subList(1, parts.length);
    }

    /** The lines of a hunk before the change or after it. */
    private static String side(String hunk, char sign) {
        StringBuilder lines = new StringBuilder();
        hunk.lines()
                .filter(line -> line.isEmpty() || line.charAt(0) == ' ' || line.charAt(0) == sign)
                .forEach(line ->
                        lines.append(line.isEmpty() ? "" : line.substring(1)).append('\n'));
        return lines.toString();
    }
}
