package dev.kv8.cli;

import dev.kv8.llm.CacheEvaluation;
import dev.kv8.llm.PredictionQuality;
import java.awt.Color;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.knowm.xchart.CategoryChart;
import org.knowm.xchart.CategoryChartBuilder;
import org.knowm.xchart.style.Styler.ChartTheme;
import org.knowm.xchart.style.Styler.LegendPosition;

/** Mean KL divergence by setting, over all tokens and by position, on a logarithmic axis. */
final class EvaluationChart {
    private static final int SETTING_WIDTH = 90;
    private static final int HEIGHT = 520;
    private static final int MIN_WIDTH = 700;
    private static final int LABEL_DEGREES = 35;
    /** Fewer are refused, even where there is only one. */
    private static final int MIN_LABELS = 2;
    /** Below this a divergence is drawn at the axis: auto's own is 0, which has no logarithm. */
    private static final double FLOOR = 1e-6;

    private EvaluationChart() {}

    static CategoryChart of(String title, List<CacheEvaluation.Result> results) {
        List<CacheEvaluation.Result> shown = results.stream()
                .filter(result -> result.quality().klMean() > FLOOR)
                .toList();
        CategoryChart chart = new CategoryChartBuilder()
                .width(Math.max(MIN_WIDTH, SETTING_WIDTH * shown.size()))
                .height(HEIGHT)
                .theme(ChartTheme.XChart)
                .title(title)
                .xAxisTitle("cache")
                .yAxisTitle("mean KL from auto, nats per token")
                .build();
        chart.getStyler().setYAxisLogarithmic(true);
        chart.getStyler().setXAxisLabelRotation(LABEL_DEGREES);
        chart.getStyler().setXAxisMaxLabelCount(Math.max(MIN_LABELS, shown.size()));
        chart.getStyler().setLegendPosition(LegendPosition.OutsideE);
        chart.getStyler().setChartBackgroundColor(Color.WHITE);
        chart.getStyler().setPlotGridVerticalLinesVisible(false);
        if (shown.isEmpty()) {
            throw new IllegalArgumentException(
                    "There is nothing to draw: no setting differs from auto. Evaluate an FP8 dtype.");
        }
        List<String> names =
                shown.stream().map(result -> result.setting().label()).toList();
        // A bar begins at the axis, which has no 0: at the power of ten below the smallest value.
        double smallest = series(shown).values().stream()
                .flatMap(List::stream)
                .mapToDouble(quality -> Math.max(FLOOR, quality.klMean()))
                .min()
                .orElseThrow();
        chart.getStyler().setYAxisMin(Math.pow(10, Math.floor(Math.log10(smallest))));
        series(shown).forEach((name, qualities) -> {
            List<Double> values = qualities.stream()
                    .map(quality -> Math.max(FLOOR, quality.klMean()))
                    .toList();
            chart.addSeries(name, names, values);
        });
        return chart;
    }

    private static Map<String, List<PredictionQuality>> series(List<CacheEvaluation.Result> results) {
        Map<String, List<PredictionQuality>> series = new LinkedHashMap<>();
        series.put(
                "all positions",
                results.stream().map(CacheEvaluation.Result::quality).toList());
        for (int i = 0; i < results.get(0).byPosition().size(); i++) {
            int bucket = i;
            series.put(
                    EvaluationReport.positions(results.get(0).byPosition().get(bucket)),
                    results.stream()
                            .map(result -> result.byPosition().get(bucket).quality())
                            .toList());
        }
        return series;
    }
}
