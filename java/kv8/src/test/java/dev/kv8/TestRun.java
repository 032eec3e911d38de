package dev.kv8;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.platform.engine.DiscoverySelector;
import org.junit.platform.engine.TestExecutionResult;
import org.junit.platform.engine.discovery.DiscoverySelectors;
import org.junit.platform.launcher.LauncherDiscoveryRequest;
import org.junit.platform.launcher.TestExecutionListener;
import org.junit.platform.launcher.TestIdentifier;
import org.junit.platform.launcher.core.LauncherDiscoveryRequestBuilder;
import org.junit.platform.launcher.core.LauncherFactory;
import org.junit.platform.launcher.listeners.SummaryGeneratingListener;
import org.junit.platform.launcher.listeners.TestExecutionSummary;

/** Some tests of this package in a JVM of their own, with classes in front of those that are tested. */
record TestRun(Outcome outcome, String output) {
    private static final int LIMIT_SECONDS = 240;

    /** What became of them. */
    enum Outcome {
        PASSED(0),
        FAILED(1),
        NOT_RUN(2);

        final int exitCode;

        Outcome(int exitCode) {
            this.exitCode = exitCode;
        }

        static Outcome of(int exitCode) {
            return exitCode == PASSED.exitCode ? PASSED : exitCode == FAILED.exitCode ? FAILED : NOT_RUN;
        }
    }

    /** @param tests names of classes, or {@code Class#method} */
    static TestRun of(@Nullable Path classes, List<String> tests) throws IOException, InterruptedException {
        String path = System.getProperty("java.class.path");
        Path output = Files.createTempFile("kv8-tests", ".txt");
        Process process = new ProcessBuilder(Stream.concat(
                                Stream.of(
                                        Path.of(System.getProperty("java.home"), "bin", "java")
                                                .toString(),
                                        "-XX:+UseSerialGC",
                                        "-XX:TieredStopAtLevel=1",
                                        "-Dkv8.seed=1",
                                        // The cache's model meets a copied part or a window's end now and then only.
                                        "-Dkv8.operations=" + (tests.contains("KvCacheModelTest") ? 4000 : 1500),
                                        // What a bug keeps for ever is waited for; without one nothing should be.
                                        "-Dkv8.patience=" + (classes == null ? 120 : 20),
                                        "-cp",
                                        classes == null ? path : classes + File.pathSeparator + path,
                                        TestRun.class.getName()),
                                tests.stream())
                        .toList())
                .redirectErrorStream(true)
                .redirectOutput(output.toFile())
                .start();
        try {
            boolean ended = process.waitFor(LIMIT_SECONDS, TimeUnit.SECONDS);
            Outcome outcome = ended ? Outcome.of(process.exitValue()) : Outcome.NOT_RUN;
            return new TestRun(
                    outcome, (ended ? "" : "not done after " + LIMIT_SECONDS + " s\n") + Files.readString(output));
        } finally {
            process.destroyForcibly();
            Files.delete(output);
        }
    }

    /** Exits with the {@link Outcome}'s code, at the first failure: each that a bug makes may wait for long. */
    public static void main(String[] tests) {
        LauncherDiscoveryRequest request = LauncherDiscoveryRequestBuilder.request()
                .selectors(Stream.of(tests).map(TestRun::selector).toList())
                .build();
        SummaryGeneratingListener listener = new SummaryGeneratingListener();
        TestExecutionListener firstFailure = new TestExecutionListener() {
            @Override
            public void executionFinished(TestIdentifier test, TestExecutionResult result) {
                if (result.getStatus() == TestExecutionResult.Status.FAILED) {
                    System.out.println(test.getDisplayName());
                    result.getThrowable().ifPresent(cause -> cause.printStackTrace(System.out));
                    System.exit(Outcome.FAILED.exitCode);
                }
            }
        };
        LauncherFactory.create().execute(request, listener, firstFailure);
        TestExecutionSummary summary = listener.getSummary();
        boolean complete = summary.getTestsFoundCount() > 0 && summary.getTestsSkippedCount() == 0;
        System.exit((complete ? Outcome.PASSED : Outcome.NOT_RUN).exitCode);
    }

    private static DiscoverySelector selector(String test) {
        String name = TestRun.class.getPackageName() + "." + test;
        return test.contains("#") ? DiscoverySelectors.selectMethod(name) : DiscoverySelectors.selectClass(name);
    }
}
