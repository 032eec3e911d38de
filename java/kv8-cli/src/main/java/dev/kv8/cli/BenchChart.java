package dev.kv8.cli;

import java.awt.Color;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import java.util.function.ToDoubleFunction;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYChartBuilder;
import org.knowm.xchart.style.Styler.ChartTheme;
import org.knowm.xchart.style.Styler.LegendPosition;

/** GB/s by size, a line for each kind of run; the sizes' axis is logarithmic. */
final class BenchChart {
    private static final int WIDTH = 860;
    private static final int HEIGHT = 480;

    /** A measured value. */
    record Point(double x, double gbps) {}

    private BenchChart() {}

    /**
     * A chart.
     *
     * @param limit GB/s that memory allows, drawn as a line of its own
     */
    static XYChart of(String title, String sizes, String limitName, double limit, Map<String, List<Point>> lines) {
        XYChart chart = new XYChartBuilder()
                .width(WIDTH)
                .height(HEIGHT)
                .theme(ChartTheme.XChart)
                .title(title)
                .xAxisTitle(sizes)
                .yAxisTitle("GB/s")
                .build();
        chart.getStyler().setXAxisLogarithmic(true);
        chart.getStyler().setYAxisMin(0.0);
        chart.getStyler().setLegendPosition(LegendPosition.OutsideE);
        chart.getStyler().setChartBackgroundColor(Color.WHITE);
        List<Double> ends = List.of(end(lines, true), end(lines, false));
        chart.addSeries(limitName, ends, List.of(limit, limit));
        lines.forEach((name, points) -> chart.addSeries(
                name,
                points.stream().map(Point::x).toList(),
                points.stream().map(Point::gbps).toList()));
        return chart;
    }

    /** The runs' points, a line for each name in the order in which it comes first. */
    static <R> Map<String, List<Point>> lines(
            List<R> runs, Function<R, String> name, ToDoubleFunction<R> size, ToDoubleFunction<R> gbps) {
        Map<String, List<Point>> lines = new LinkedHashMap<>();
        for (R run : runs) {
            lines.computeIfAbsent(name.apply(run), line -> new ArrayList<>())
                    .add(new Point(size.applyAsDouble(run), gbps.applyAsDouble(run)));
        }
        return lines;
    }

    private static double end(Map<String, List<Point>> lines, boolean first) {
        var all = lines.values().stream().flatMap(List::stream).mapToDouble(Point::x);
        return first ? all.min().orElse(1) : all.max().orElse(1);
    }
}
