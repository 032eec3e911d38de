package dev.kv8.cli;

import dev.kv8.llm.ScaleInspection.HeadRange;
import java.awt.Color;
import java.util.ArrayList;
import java.util.DoubleSummaryStatistics;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.function.ToDoubleFunction;
import org.knowm.xchart.HeatMapChart;
import org.knowm.xchart.HeatMapChartBuilder;
import org.knowm.xchart.style.Styler.LegendPosition;

/** A heat map over layers and heads, K above V, of a magnitude's decimal logarithm. */
final class InspectionChart {
    private static final int CELL_WIDTH = 64;
    private static final int CELL_HEIGHT = 44;
    private static final int MARGIN_WIDTH = 300;
    private static final int MARGIN_HEIGHT = 140;
    /** A head without any magnitude has no logarithm; this is far below any that matters. */
    private static final double SMALLEST = 1e-9;

    private InspectionChart() {}

    /** A cell for each of {@code ranges}, which hold every head of K and V of every layer. */
    static HeatMapChart of(String title, List<HeadRange> ranges, ToDoubleFunction<HeadRange> magnitude) {
        Set<Integer> layers = new LinkedHashSet<>();
        List<String> rows = new ArrayList<>();
        // The first row is drawn at the bottom.
        ranges.forEach(range -> layers.add(range.layer()));
        for (int i = ranges.size() / layers.size() - 1; i >= 0; i--) {
            rows.add(row(ranges.get(i)));
        }
        List<Number[]> cells = new ArrayList<>();
        for (HeadRange range : ranges) {
            double value = Math.log10(Math.max(SMALLEST, magnitude.applyAsDouble(range)));
            cells.add(new Number[] {range.layer(), rows.indexOf(row(range)), value});
        }
        DoubleSummaryStatistics values =
                cells.stream().mapToDouble(cell -> cell[2].doubleValue()).summaryStatistics();
        HeatMapChart chart = new HeatMapChartBuilder()
                .width(MARGIN_WIDTH + CELL_WIDTH * layers.size())
                .height(MARGIN_HEIGHT + CELL_HEIGHT * rows.size())
                .title(title)
                .xAxisTitle("layer")
                .build();
        chart.getStyler().setLegendPosition(LegendPosition.OutsideE);
        chart.getStyler().setChartBackgroundColor(Color.WHITE);
        chart.getStyler().setPlotContentSize(1);
        chart.getStyler().setShowValue(true);
        chart.getStyler().setRangeColors(new Color[] {new Color(0xEFF3FF), new Color(0x6BAED6), new Color(0xB2182B)});
        chart.getStyler().setHeatMapValueDecimalPattern("0.0");
        chart.getStyler().setXAxisTickMarkSpacingHint(CELL_WIDTH / 2);
        chart.getStyler().setYAxisTickMarkSpacingHint(CELL_HEIGHT / 2);
        chart.getStyler().setMin(Math.floor(values.getMin()));
        chart.getStyler().setMax(Math.ceil(values.getMax()));
        chart.addSeries("magnitude", List.copyOf(layers), rows, cells);
        return chart;
    }

    private static String row(HeadRange range) {
        return range.side() + " head " + range.head();
    }

    static String readable(double magnitude) {
        if (magnitude == 0 || (magnitude >= 0.01 && magnitude < 100_000)) {
            int decimals = magnitude >= 100 ? 0 : magnitude >= 1 ? 2 : 4;
            return Numbers.fixed(magnitude, decimals);
        }
        return String.format(Locale.ROOT, "%.2e", magnitude);
    }
}
