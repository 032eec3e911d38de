package dev.kv8.cli;

import dev.kv8.CapacityPlan;
import dev.kv8.KvCacheDType;
import java.awt.Color;
import java.util.List;
import java.util.Map;
import org.knowm.xchart.CategoryChart;
import org.knowm.xchart.CategoryChartBuilder;
import org.knowm.xchart.style.Styler.ChartTheme;

/** How many tokens fit, by what the cache stores. */
final class PlanChart {
    private static final int WIDTH = 760;
    private static final int HEIGHT = 480;

    private PlanChart() {}

    static CategoryChart of(String title, Map<KvCacheDType, CapacityPlan> plans) {
        CategoryChart chart = new CategoryChartBuilder()
                .width(WIDTH)
                .height(HEIGHT)
                .theme(ChartTheme.XChart)
                .title(title)
                .xAxisTitle("kv_cache_dtype")
                .yAxisTitle("tokens")
                .build();
        chart.getStyler().setYAxisMin(0.0);
        chart.getStyler().setLegendVisible(false);
        chart.getStyler().setChartBackgroundColor(Color.WHITE);
        chart.getStyler().setPlotGridVerticalLinesVisible(false);
        List<String> dtypes = plans.keySet().stream().map(KvCacheDType::label).toList();
        chart.addSeries(
                "tokens",
                dtypes,
                plans.values().stream().map(CapacityPlan::tokens).toList());
        return chart;
    }
}
