package dev.kv8.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.kv8.KvCacheDType;
import dev.kv8.KvScales;
import dev.kv8.llm.CacheEvaluation;
import dev.kv8.llm.CacheSetting;
import dev.kv8.llm.PositionBucket;
import dev.kv8.llm.PredictionQuality;
import dev.kv8.llm.ScaleInspection.HeadRange;
import dev.kv8.llm.ScaleInspection.Side;
import dev.kv8.llm.ScaleMode;
import java.awt.Color;
import java.awt.image.BufferedImage;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import javax.imageio.ImageIO;
import javax.xml.parsers.DocumentBuilderFactory;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.knowm.xchart.style.colors.XChartSeriesColors;
import org.w3c.dom.Document;
import org.w3c.dom.Element;
import org.w3c.dom.Node;
import org.w3c.dom.NodeList;
import picocli.CommandLine.TypeConversionException;

class PlotFileTest {
    private static final PlotFile.Converter CONVERTER = new PlotFile.Converter();

    private static final Color FIRST = new XChartSeriesColors().getSeriesColors()[0];

    @TempDir
    Path folder;

    private static CacheEvaluation.Result result(KvCacheDType dtype, ScaleMode scales, double kl) {
        PredictionQuality quality = new PredictionQuality(100, 20, 1, 0.01, 0.001, kl, kl / 10, 1, 0.97, 0.01);
        return new CacheEvaluation.Result(
                CacheSetting.of(dtype, scales),
                quality,
                List.of(new PositionBucket(0, 127, quality), new PositionBucket(128, 255, quality)),
                1536,
                0,
                KvScales.none(1));
    }

    private static List<HeadRange> heads() {
        List<HeadRange> heads = new ArrayList<>();
        for (int layer = 0; layer < 3; layer++) {
            for (Side side : Side.values()) {
                // An all-zero head has no logarithm and is drawn all the same.
                heads.add(new HeadRange(layer, side, 0, 1, 1, false, 0, 0));
                heads.add(new HeadRange(layer, side, 1, 1, 1, false, 10_000, 22));
            }
        }
        return heads;
    }

    @Test
    void an_evaluation_is_drawn_as_svg_with_bars_for_what_differs_from_auto() throws Exception {
        CacheEvaluation.Result auto = result(KvCacheDType.AUTO, ScaleMode.NONE, 0);
        CacheEvaluation.Result tensor = result(KvCacheDType.FP8, ScaleMode.TENSOR, 0.2);
        CacheEvaluation.Result head = result(KvCacheDType.FP8, ScaleMode.HEAD, 0.002);
        int one = bars(evaluation(tensor));
        assertThat(bars(evaluation(auto, tensor))).isEqualTo(one);
        assertThat(bars(evaluation(tensor, head))).isEqualTo(one + 1);
    }

    private Path evaluation(CacheEvaluation.Result... results) throws Exception {
        Path file = folder.resolve("kl.svg");
        CONVERTER.convert(file.toString()).write(EvaluationChart.of("a model", List.of(results)));
        return file;
    }

    /** Shapes in the colour of the first series, the legend's included. */
    private static int bars(Path svg) throws Exception {
        return shapes(svg, "rgb(" + FIRST.getRed() + "," + FIRST.getGreen() + "," + FIRST.getBlue() + ")");
    }

    @Test
    void an_inspection_is_drawn_as_svg_with_a_cell_for_each_head() throws Exception {
        Path file = folder.resolve("heat.svg");
        CONVERTER.convert(file.toString()).write(InspectionChart.of("magnitudes", heads(), HeadRange::amax));
        assertThat(shapes(file, "rgb(178,24,43)"))
                .as("the loud heads, in the last colour")
                .isEqualTo(6);
    }

    @Test
    void a_png_is_one_whatever_the_case_of_its_ending() throws Exception {
        Path file = folder.resolve("heat.PNG");
        CONVERTER.convert(file.toString()).write(InspectionChart.of("magnitudes", heads(), HeadRange::amax));
        BufferedImage image = ImageIO.read(file.toFile());
        assertThat(image.getWidth()).isGreaterThan(300);
        assertThat(image.getRGB(0, 0)).isEqualTo(0xFFFFFFFF);
    }

    @Test
    void nothing_to_draw_is_said_and_leaves_no_file() {
        assertThatThrownBy(() -> EvaluationChart.of("a model", List.of(result(KvCacheDType.AUTO, ScaleMode.NONE, 0))))
                .hasMessageContaining("nothing to draw");
        assertThat(folder).isEmptyDirectory();
    }

    @Test
    void other_formats_are_refused() {
        assertThatThrownBy(() -> CONVERTER.convert("kl.pdf"))
                .isInstanceOf(TypeConversionException.class)
                .hasMessageContaining("neither .svg nor .png");
    }

    /** Shapes of an SVG file, which must be well-formed, that are filled with a colour, by themselves or by their group. */
    private static int shapes(Path svg, String colour) throws Exception {
        DocumentBuilderFactory factory = DocumentBuilderFactory.newInstance();
        // The file names the SVG DTD, which lies on the Web.
        factory.setFeature("http://apache.org/xml/features/nonvalidating/load-external-dtd", false);
        Document document = factory.newDocumentBuilder().parse(Files.newInputStream(svg));
        assertThat(document.getDocumentElement().getTagName()).isEqualTo("svg");
        int found = 0;
        for (String shape : List.of("rect", "path", "polygon")) {
            NodeList elements = document.getElementsByTagName(shape);
            for (int i = 0; i < elements.getLength(); i++) {
                found += fill(elements.item(i)).equals(colour) ? 1 : 0;
            }
        }
        return found;
    }

    private static String fill(Node node) {
        for (Node at = node; at instanceof Element element; at = at.getParentNode()) {
            if (element.hasAttribute("fill")) {
                return element.getAttribute("fill");
            }
        }
        return "";
    }
}
