package dev.kv8.cli;

import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** How often a benchmark measures, and where it draws what it found. */
final class Measurement {
    @Option(
            names = "--rounds",
            paramLabel = "N",
            defaultValue = "9",
            description = "Measurements of each, of which the median counts (default: ${DEFAULT-VALUE}).")
    int rounds;

    @Option(
            names = "--plot",
            paramLabel = "FILE",
            converter = PlotFile.Converter.class,
            description = "Draw GB/s as .svg or .png.")
    @Nullable
    PlotFile plot;
}
