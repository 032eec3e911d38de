package dev.kv8.cli;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.awt.Dimension;
import java.io.IOException;
import java.io.OutputStream;
import java.io.OutputStreamWriter;
import java.io.Writer;
import java.nio.channels.Channels;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import javax.xml.parsers.DocumentBuilderFactory;
import javax.xml.parsers.ParserConfigurationException;
import org.apache.batik.svggen.SVGGraphics2D;
import org.knowm.xchart.ChartEncoder;
import org.knowm.xchart.internal.chartpart.IChart;
import org.w3c.dom.Document;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/** Where a chart goes: an SVG or PNG file, as its name says. */
record PlotFile(Path path, String format) {
    private static final String SVG = "svg";
    private static final List<String> FORMATS = List.of(SVG, "png");

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
        OutputFile.write(path, channel -> {
            OutputStream out = Channels.newOutputStream(channel);
            if (format.equals(SVG)) {
                writeSvg(chart, out);
            } else {
                ChartEncoder.saveChart(chart, out, format);
            }
        });
    }

    /** Charts draw text as outlines, so it looks the same everywhere. */
    private static void writeSvg(IChart chart, OutputStream out) throws IOException {
        Document document;
        try {
            document = DocumentBuilderFactory.newInstance()
                    .newDocumentBuilder()
                    .getDOMImplementation()
                    .createDocument(SVGGraphics2D.SVG_NAMESPACE_URI, SVG, null);
        } catch (ParserConfigurationException e) {
            throw new IllegalStateException("This JDK has no XML parser.", e);
        }
        SVGGraphics2D graphics = new SVGGraphics2D(document);
        graphics.setSVGCanvasSize(new Dimension(chart.getWidth(), chart.getHeight()));
        chart.paint(graphics, chart.getWidth(), chart.getHeight());
        Writer writer = new OutputStreamWriter(out, UTF_8);
        graphics.stream(writer, false);
        writer.flush();
    }
}
