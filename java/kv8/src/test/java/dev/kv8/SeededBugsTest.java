package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Do the tests see a bug when there is one? Each patch in {@code src/test/bugs} plants one of a kind that cache managers have had;
 * the tests that it names have to fail with it, and to pass without. Bugs are planted two at a time, each in a folder and a JVM of
 * its own.
 */
class SeededBugsTest {
    private static final ExecutorService TWO = Executors.newFixedThreadPool(2);
    private static final Map<String, Future<TestRun>> RUNS = new TreeMap<>();
    private static @Nullable Future<TestRun> withoutBug;

    @TempDir
    static Path folder;

    @BeforeAll
    static void begin() throws IOException {
        List<SeededBug> bugs = SeededBug.all();
        List<String> tests =
                bugs.stream().flatMap(bug -> bug.caughtBy().stream()).distinct().toList();
        withoutBug = TWO.submit(() -> TestRun.of(null, tests));
        for (SeededBug bug : bugs) {
            RUNS.put(bug.name(), TWO.submit(() -> TestRun.of(bug.plant(folder.resolve(bug.name())), bug.caughtBy())));
        }
    }

    @AfterAll
    static void end() {
        TWO.shutdownNow();
    }

    static Stream<String> bugs() throws IOException {
        return SeededBug.all().stream().map(SeededBug::name);
    }

    @ParameterizedTest
    @MethodSource("bugs")
    void itIsCaught(String bug) throws Exception {
        TestRun run = result(Objects.requireNonNull(RUNS.get(bug)));
        assertThat(run.outcome()).as("with %s: %s", bug, run.output()).isEqualTo(TestRun.Outcome.FAILED);
    }

    @Test
    void withoutABugEveryNamedTestPasses() throws Exception {
        TestRun run = result(Objects.requireNonNull(withoutBug));
        assertThat(run.outcome()).as(run.output()).isEqualTo(TestRun.Outcome.PASSED);
    }

    private static TestRun result(Future<TestRun> run) throws Exception {
        try {
            return run.get();
        } catch (ExecutionException e) {
            throw e.getCause() instanceof Exception cause ? cause : e;
        }
    }
}
