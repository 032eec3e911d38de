package dev.kv8.cli;

import java.io.IOException;
import java.nio.channels.Channels;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import org.knowm.xchart.ChartEncoder;
import org.knowm.xchart.internal.chartpart.IChart;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/** Where a chart goes: an SVG or PNG file, as its name says. */
record PlotFile(Path path, String format) {
    private static final List<String> FORMATS = List.of("svg", "png");

    /** Reads the option; other endings are refused before any work is done. */
    static final class Converter implements ITypeConverter<PlotFile> {
        @Override
        public PlotFile convert(String name) {
            String ending = name.substring(name.lastIndexOf('.') + 1).toLowerCase(Locale.ROOT);
            if (!FORMATS.contains(ending)) {
                throw new TypeConversionException(
                        "\"" + name + "\" is neither .svg nor .png; charts are drawn as those.");
            }
            return new PlotFile(Path.of(name), ending);
        }
    }

    void write(IChart chart) throws IOException {
        // A terminal or server without a screen can draw all the same.
        System.setProperty("java.awt.headless", "true");
        OutputFile.write(path, channel -> ChartEncoder.saveChart(chart, Channels.newOutputStream(channel), format));
    }
}
