package dev.kv8;

import java.lang.reflect.Method;
import java.util.Collection;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.infra.BenchmarkParams;
import org.openjdk.jmh.profile.GCProfiler;
import org.openjdk.jmh.results.Result;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.options.CommandLineOptions;
import org.openjdk.jmh.runner.options.OptionsBuilder;
import org.openjdk.jmh.runner.options.TimeValue;

/**
 * Runs the benchmarks of the manager and sets their medians against the targets. Every batch of operations is timed on its own
 * and the median taken: a batch lasts far less than a time slice, so a busy machine disturbs few of them. Arguments are JMH's.
 */
public final class ManagerBenchmarks {
    /** Nanoseconds for one operation, as {@code scripts/bench manager} is held to. */
    private static final Map<String, String> TARGETS = Map.of(
            "allocateFresh", "25",
            "allocateEvicting", "60",
            "registerFull", "30",
            "free", "10",
            "releaseCached", "10",
            "lookupAndTouch", "50",
            "lookupHit", "40",
            "lookupMiss", "40",
            "append", "3",
            "sha256", "250 (16)");

    private ManagerBenchmarks() {}

    public static void main(String[] arguments) throws Exception {
        CommandLineOptions given = new CommandLineOptions(arguments);
        if (given.shouldHelp()) {
            given.showHelp();
            return;
        }
        Collection<RunResult> results = new Runner(new OptionsBuilder()
                        .parent(given)
                        .exclude(Door.class.getName()) // which needs kernels
                        .mode(Mode.SampleTime)
                        .operationsPerInvocation(1)
                        .timeUnit(TimeUnit.NANOSECONDS)
                        .shouldFailOnError(true)
                        .addProfiler(GCProfiler.class)
                        .forks(given.getForkCount().orElse(1))
                        .warmupIterations(given.getWarmupIterations().orElse(4))
                        .warmupTime(given.getWarmupTime().orElse(TimeValue.milliseconds(500)))
                        .measurementIterations(given.getMeasurementIterations().orElse(5))
                        .measurementTime(given.getMeasurementTime().orElse(TimeValue.milliseconds(500)))
                        .build())
                .run();
        print(results);
    }

    private static void print(Collection<RunResult> results) throws ReflectiveOperationException {
        System.out.printf(
                "%n%-18s %-24s %10s %10s %10s %10s%n", "operation", "", "p50 ns/op", "p90 ns/op", "B/op", "target ns");
        for (RunResult result : results) {
            Result<?> time = result.getPrimaryResult();
            int batch = batch(result.getParams());
            String name = time.getLabel();
            Map<String, String> parameters = new TreeMap<>();
            for (String key : result.getParams().getParamsKeys()) {
                parameters.put(key, result.getParams().getParam(key));
            }
            System.out.printf(
                    Locale.ROOT,
                    "%-18s %-24s %10.1f %10.1f %10.2f %10s%n",
                    name,
                    String.join(" ", parameters.values()),
                    nanos(time, 50) / batch,
                    nanos(time, 90) / batch,
                    bytes(result) / batch,
                    TARGETS.getOrDefault(name, ""));
        }
    }

    private static double nanos(Result<?> time, double percentile) {
        return time.getStatistics().getPercentile(percentile);
    }

    private static double bytes(RunResult result) {
        for (Result<?> secondary : result.getSecondaryResults().values()) {
            if (secondary.getLabel().endsWith("gc.alloc.rate.norm")) {
                return secondary.getScore();
            }
        }
        return Double.NaN;
    }

    /** What JMH was told to leave out of its result, because it divides whole nanoseconds. */
    private static int batch(BenchmarkParams parameters) throws ReflectiveOperationException {
        String name = parameters.getBenchmark();
        int dot = name.lastIndexOf('.');
        String type = name.substring(0, dot);
        Class<?> benchmark;
        try {
            benchmark = Class.forName(type);
        } catch (ClassNotFoundException e) {
            int outer = type.lastIndexOf('.');
            benchmark = Class.forName(type.substring(0, outer) + "$" + type.substring(outer + 1));
        }
        for (Method method : benchmark.getMethods()) {
            if (method.getName().equals(name.substring(dot + 1))) {
                return method.getAnnotation(OperationsPerInvocation.class).value();
            }
        }
        throw new IllegalStateException("There is no benchmark " + name + ".");
    }
}
