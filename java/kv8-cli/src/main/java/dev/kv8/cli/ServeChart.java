package dev.kv8.cli;

import dev.kv8.KvCacheDType;
import java.awt.Color;
import java.awt.Graphics2D;
import java.util.List;
import java.util.Map;
import java.util.function.ToDoubleFunction;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYChartBuilder;
import org.knowm.xchart.internal.chartpart.IChart;
import org.knowm.xchart.style.Styler.ChartTheme;
import org.knowm.xchart.style.Styler.LegendPosition;

/** Tokens per second above, latency below, both by offered load, a line for each cache dtype. */
final class ServeChart implements IChart {
    private static final int WIDTH = 760;
    private static final int HEIGHT = 340;

    private final XYChart above;
    private final XYChart below;

    private ServeChart(XYChart above, XYChart below) {
        this.above = above;
        this.below = below;
    }

    /** @throws IllegalArgumentException when no run has a finite rate */
    static ServeChart of(Map<KvCacheDType, List<ServeRun>> runs) {
        boolean finite = runs.values().stream().flatMap(List::stream).anyMatch(ServeChart::hasRate);
        if (!finite) {
            throw new IllegalArgumentException(
                    "There is nothing to draw: all requests came at once. Give --rate some numbers.");
        }
        XYChart tokens = chart("tokens/s written", runs, ServeRun::tokensPerSecond);
        XYChart latency = chart("latency, s (p50)", runs, run -> run.latency().at(0.5));
        return new ServeChart(tokens, latency);
    }

    private static boolean hasRate(ServeRun run) {
        return !Double.isInfinite(run.rate());
    }

    private static XYChart chart(
            String title, Map<KvCacheDType, List<ServeRun>> runs, ToDoubleFunction<ServeRun> value) {
        XYChart chart = new XYChartBuilder()
                .width(WIDTH)
                .height(HEIGHT)
                .theme(ChartTheme.XChart)
                .title(title)
                .xAxisTitle("offered load, requests/s")
                .yAxisTitle(title)
                .build();
        chart.getStyler().setYAxisMin(0.0);
        chart.getStyler().setXAxisMin(0.0);
        chart.getStyler().setLegendPosition(LegendPosition.OutsideE);
        chart.getStyler().setChartBackgroundColor(Color.WHITE);
        runs.forEach((dtype, ofDtype) -> {
            List<ServeRun> shown = ofDtype.stream().filter(ServeChart::hasRate).toList();
            chart.addSeries(
                    dtype.label(),
                    shown.stream().map(ServeRun::rate).toList(),
                    shown.stream().map(run -> value.applyAsDouble(run)).toList());
        });
        return chart;
    }

    @Override
    public void paint(Graphics2D graphics, int width, int height) {
        above.paint(graphics, width, height / 2);
        graphics.translate(0, height / 2);
        below.paint(graphics, width, height - height / 2);
        graphics.translate(0, -(height / 2));
    }

    @Override
    public int getWidth() {
        return WIDTH;
    }

    @Override
    public int getHeight() {
        return 2 * HEIGHT;
    }

    @Override
    public String getTitle() {
        return above.getTitle();
    }
}
