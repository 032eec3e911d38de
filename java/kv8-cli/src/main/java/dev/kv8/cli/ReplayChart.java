package dev.kv8.cli;

import dev.kv8.EvictionPolicyKind;
import dev.kv8.PrefixReplay;
import java.awt.Color;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYChartBuilder;
import org.knowm.xchart.style.Styler.ChartTheme;
import org.knowm.xchart.style.Styler.LegendPosition;

/** Hit rate by capacity, a line for each policy; the capacities' axis is logarithmic. */
final class ReplayChart {
    private static final int WIDTH = 760;
    private static final int HEIGHT = 480;

    private ReplayChart() {}

    static XYChart of(String title, List<PrefixReplay> replays) {
        XYChart chart = new XYChartBuilder()
                .width(WIDTH)
                .height(HEIGHT)
                .theme(ChartTheme.XChart)
                .title(title)
                .xAxisTitle("capacity, blocks")
                .yAxisTitle("hits, % of block references")
                .build();
        chart.getStyler().setXAxisLogarithmic(true);
        chart.getStyler().setYAxisMin(0.0);
        chart.getStyler().setLegendPosition(LegendPosition.OutsideE);
        chart.getStyler().setChartBackgroundColor(Color.WHITE);
        Map<EvictionPolicyKind, List<PrefixReplay>> byPolicy = new LinkedHashMap<>();
        for (PrefixReplay replay : replays) {
            byPolicy.computeIfAbsent(replay.policy(), policy -> new ArrayList<>())
                    .add(replay);
        }
        byPolicy.forEach((policy, runs) -> {
            List<PrefixReplay> ascending = runs.stream()
                    .sorted(Comparator.comparingInt(PrefixReplay::capacity))
                    .toList();
            chart.addSeries(
                    policy.label(),
                    ascending.stream().map(PrefixReplay::capacity).toList(),
                    ascending.stream().map(replay -> 100 * replay.hitRate()).toList());
        });
        return chart;
    }
}
