package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import dev.kv8.KvCacheDType;
import dev.kv8.KvScales;
import dev.kv8.KvScales.Granularity;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CancellationException;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CalibratorTest extends CpuTest {
    private static final Path OUTLIER = TinyModel.MODELS.resolve("tiny-llama-outlier");
    private static final List<Granularity> STATIC = List.of(Granularity.TENSOR, Granularity.HEAD, Granularity.CHANNEL);

    @TempDir
    Path folder;

    /** Forty short samples, drawn from the evaluation text. */
    private static Calibrator.Builder calibrator() {
        return Calibrator.builder()
                .model(TinyModel.FOLDER)
                .backend(backend)
                .data(TinyModel.FOLDER.resolve("eval.txt"))
                .samples(40)
                .sampleLength(48);
    }

    private static void assertSameScales(Calibration actual, Calibration expected) {
        for (Granularity granularity : STATIC) {
            KvScales scales = actual.scales(granularity);
            for (int layer = 0; layer < scales.layers(); layer++) {
                assertThat(scales.layer(layer))
                        .as("%s, layer %d", granularity, layer)
                        .isEqualTo(expected.scales(granularity).layer(layer));
            }
        }
        assertThat(actual.report(actual.scales(Granularity.CHANNEL), Set.of()))
                .isEqualTo(expected.report(expected.scales(Granularity.CHANNEL), Set.of()));
    }

    @Test
    void theResultDoesNotDependOnTheBatch() {
        Calibration single = calibrator().batchTokens(48).build().run();
        assertThat(single.facts().samples()).isEqualTo(40);
        assertThat(single.facts().tokens()).isBetween(40 * 24L, 40 * 48L);
        assertSameScales(calibrator().batchTokens(4096).build().run(), single);
        assertSameScales(calibrator().batchTokens(17).build().run(), single);
    }

    @Test
    void anInterruptedCalibrationGoesOnWhereItsStateEnds() {
        Path state = folder.resolve("state");
        assertThatExceptionOfType(Interruption.class)
                .isThrownBy(
                        () -> calibrator().batchTokens(48).state(state).build().run((done, samples, tokens) -> {
                            if (done == 21) {
                                throw new Interruption();
                            }
                        }));
        List<Integer> heard = new ArrayList<>();
        Calibration resumed = calibrator()
                .batchTokens(96)
                .state(state)
                .resume(true)
                .build()
                .run((done, samples, tokens) -> heard.add(done));
        assertThat(heard).first().isEqualTo(16);
        assertThat(heard).last().isEqualTo(40);
        assertSameScales(resumed, calibrator().build().run());
    }

    private static final class Interruption extends RuntimeException {
        private static final long serialVersionUID = 1;
    }

    @Test
    void aCancelledCalibrationKeepsAllThatItHasDone() {
        Path state = folder.resolve("state");
        Calibrator calibrator = calibrator().batchTokens(48).state(state).build();
        assertThatExceptionOfType(CancellationException.class)
                .isThrownBy(() -> calibrator.run((done, samples, tokens) -> {
                    if (done == 5) {
                        calibrator.cancel();
                    }
                }))
                .withMessageContaining("after 5 of 40 samples");
        List<Integer> heard = new ArrayList<>();
        Calibration resumed =
                calibrator().state(state).resume(true).build().run((done, samples, tokens) -> heard.add(done));
        assertThat(heard).first().isEqualTo(5);
        assertSameScales(resumed, calibrator().build().run());
    }

    /** Ends its JVM, as a kill does, after the samples that it is told. */
    static final class Killed {
        private Killed() {}

        public static void main(String[] arguments) {
            calibratorIn(Path.of(arguments[0])).run((done, samples, tokens) -> {
                if (done >= 20) {
                    Runtime.getRuntime().halt(9);
                }
            });
        }

        private static Calibrator calibratorIn(Path state) {
            return Calibrator.builder()
                    .model(TinyModel.FOLDER)
                    .data(TinyModel.FOLDER.resolve("eval.txt"))
                    .samples(40)
                    .sampleLength(48)
                    .batchTokens(48)
                    .state(state)
                    .build();
        }
    }

    @Test
    void aKilledProcessLeavesAStateToGoOnFrom() throws IOException, InterruptedException {
        Path state = folder.resolve("state");
        List<String> line = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "--enable-native-access=ALL-UNNAMED",
                "-Dkv.backend=cpu",
                "-Dkv8.models=" + TinyModel.MODELS,
                "-cp",
                System.getProperty("java.class.path")));
        String cache = System.getProperty("org.bytedeco.javacpp.cachedir");
        if (cache != null) {
            line.add(1, "-Dorg.bytedeco.javacpp.cachedir=" + cache);
        }
        line.addAll(List.of(Killed.class.getName(), state.toString()));
        Path log = folder.resolve("log");
        Process child = new ProcessBuilder(line)
                .redirectErrorStream(true)
                .redirectOutput(log.toFile())
                .start();
        assertThat(child.waitFor(5, TimeUnit.MINUTES)).isTrue();
        assertThat(child.exitValue()).as(Files.readString(log)).isEqualTo(9);
        List<Integer> heard = new ArrayList<>();
        Calibration resumed =
                calibrator().state(state).resume(true).build().run((done, samples, tokens) -> heard.add(done));
        assertThat(heard).first().isEqualTo(16);
        assertSameScales(resumed, calibrator().build().run());
    }

    @Test
    void refusesAStateOfSomethingElseAndADamagedOne() throws IOException {
        Path state = folder.resolve("state");
        calibrator().samples(4).state(state).build().run();
        assertThatExceptionOfType(CalibrationException.class)
                .isThrownBy(() -> calibrator()
                        .samples(5)
                        .seed(7)
                        .model(OUTLIER)
                        .state(state)
                        .resume(true)
                        .build()
                        .run())
                .withMessageContaining("the number of samples was 4, is 5")
                .withMessageContaining("the seed was 42, is 7")
                .withMessageContaining("begin anew");
        byte[] bytes = Files.readAllBytes(state);
        for (int at : new int[] {0, 9, bytes.length / 2, bytes.length - 1}) {
            byte[] damaged = bytes.clone();
            damaged[at] ^= 0x40;
            assertDamaged(state, damaged, "byte " + at);
        }
        assertDamaged(state, Arrays.copyOf(bytes, bytes.length - 5), "shorter");
        assertDamaged(state, new byte[3], "3 bytes");
        // Without resume it is overwritten.
        calibrator().samples(4).state(state).build().run();
        assertThat(Files.readAllBytes(state)).isEqualTo(bytes);
    }

    private void assertDamaged(Path state, byte[] bytes, String how) throws IOException {
        Files.write(state, bytes, StandardOpenOption.TRUNCATE_EXISTING);
        assertThatExceptionOfType(CalibrationException.class)
                .as(how)
                .isThrownBy(() -> calibrator()
                        .samples(4)
                        .state(state)
                        .resume(true)
                        .build()
                        .run())
                .withMessageContaining("is damaged")
                .withMessageContaining("Delete it and calibrate from the beginning");
    }

    @Test
    void scalesOfTheirOwnDifferWhereHeadsDo() {
        Calibration calibration = calibrator().model(OUTLIER).build().run();
        KvScales tensor = calibration.scales(Granularity.TENSOR);
        KvScales head = calibration.scales(Granularity.HEAD);
        KvScales channel = calibration.scales(Granularity.CHANNEL);
        for (int layer = 0; layer < tensor.layers(); layer++) {
            float shared = tensor.layer(layer).k().at(0, 0, 64);
            float first = head.layer(layer).k().at(0, 0, 64);
            float second = head.layer(layer).k().at(1, 0, 64);
            assertThat(Math.max(first, second)).as("layer %d", layer).isEqualTo(shared);
            assertThat(Math.min(first, second)).as("layer %d", layer).isLessThan(shared / 8);
            float[] channels = channel.layer(layer).k().values();
            for (int i = 0; i < channels.length; i++) {
                assertThat(channels[i])
                        .as("layer %d, channel %d", layer, i)
                        .isLessThanOrEqualTo(head.layer(layer).k().at(i / 64, i % 64, 64));
            }
            Calibration.Range k = calibration.kRange(layer);
            assertThat(k.amax() / 448).isEqualTo(shared);
            assertThat(k.headAmax()).hasSize(2).contains(k.amax());
            assertThat(k.percentile999()).isLessThan(k.amax());
        }
    }

    @Test
    void rulesFormatAndMarginChangeTheScales() {
        float plain = firstScale(calibrator());
        assertThat(firstScale(calibrator().margin(2))).isEqualTo(2 * plain);
        assertThat(firstScale(calibrator().rule(new ScaleRule.Percentile(99)))).isLessThan(plain);
        assertThat(firstScale(calibrator().kRule(new ScaleRule.Mse()))).isLessThanOrEqualTo(plain);
        assertThat(firstScale(calibrator().dtype(KvCacheDType.FP8_E5M2))).isEqualTo(plain * 448 / 57344);
    }

    private static float firstScale(Calibrator.Builder calibrator) {
        return calibrator
                .samples(4)
                .build()
                .run()
                .scales(Granularity.TENSOR)
                .layer(0)
                .k()
                .values()[0];
    }

    @Test
    void theReportSaysWhatWasSeen() {
        Calibration calibration = calibrator().samples(8).build().run();
        KvScales scales = calibration.scales(Granularity.HEAD);
        JsonObject report =
                JsonParser.parseString(calibration.report(scales, Set.of(2))).getAsJsonObject();
        assertThat(report.get("data").getAsString()).isEqualTo("eval.txt");
        assertThat(report.get("data_sha256").getAsString()).matches("[0-9a-f]{64}");
        assertThat(report.get("samples").getAsInt()).isEqualTo(8);
        assertThat(report.get("tokens").getAsLong())
                .isEqualTo(calibration.facts().tokens());
        JsonArray layers = report.getAsJsonArray("layers");
        assertThat(layers).hasSize(6);
        JsonObject k = layers.get(0).getAsJsonObject().getAsJsonObject("k");
        assertThat(k.get("amax").getAsFloat()).isEqualTo(calibration.kRange(0).amax());
        assertThat(k.getAsJsonArray("head_amax")).hasSize(2);
        assertThat(k.get("largest_scale").getAsFloat())
                .isEqualTo(Math.max(
                        scales.layer(0).k().values()[0], scales.layer(0).k().values()[1]));
        assertThat(k.get("nans").getAsLong()).isZero();
        assertThat(k.get("saturated").getAsDouble()).isZero();
        assertThat(layers.get(2).getAsJsonObject().get("skipped").getAsBoolean())
                .isTrue();
        assertThat(layers.get(2).getAsJsonObject().getAsJsonObject("v").has("largest_scale"))
                .isFalse();
    }

    @Test
    void readsEveryShapeOfLine() throws IOException {
        Path model = copyOfTheModelWithATemplate();
        Path chats = write("data.jsonl", """
                {"prompt":"passed over","messages":[{"role":"user","content":"In the beginning"},{"role":"assistant","content":[{"type":"text","text":"was the word"}]}]}

                {"conversations":[{"from":"human","value":"In the beginning"},{"from":"gpt","value":"was the word"}],"id":7}
                {"text":"In the beginning was the word","meta":{"a":[1,2]}}
                {"prompt":"In the beginning was the word"}
                """);
        Calibration calibration =
                calibrator().model(model).data(chats).samples(512).build().run();
        assertThat(calibration.facts().samples()).isEqualTo(4);
        try (Tokenizer tokenizer = Tokenizer.load(model)) {
            int chat = tokenizer.encode("user: In the beginning\nassistant: was the word\n").length;
            int text = tokenizer.encode("In the beginning was the word").length;
            assertThat(calibration.facts().tokens())
                    .as("the template writes the beginning-of-text token, and nothing adds another")
                    .isEqualTo(2L * chat + 2L * text);
        }
    }

    private Path copyOfTheModelWithATemplate() throws IOException {
        Path model = Files.createDirectory(folder.resolve("model"));
        TinyModel.copyTo(model);
        Files.writeString(
                model.resolve("chat_template.jinja"),
                "{{ bos_token }}{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}");
        return model;
    }

    private Path write(String name, String content) throws IOException {
        return Files.writeString(folder.resolve(name), content);
    }

    @Test
    void drawsTheSameSamplesForTheSameSeedOnly() {
        Calibration one = calibrator().samples(3).build().run();
        Calibration same = calibrator().samples(3).build().run();
        Calibration other = calibrator().samples(3).seed(43).build().run();
        assertSameScales(same, one);
        assertThat(other.scales(Granularity.CHANNEL).layer(0).v())
                .isNotEqualTo(one.scales(Granularity.CHANNEL).layer(0).v());
    }

    @Test
    void saysWhichLineIsWrong() throws IOException {
        assertBad("{\"text\":\"a\"}\n\nnot json\n", "bad.jsonl, line 3 is not JSON");
        assertBad("[1]\n", "line 1 is not a JSON object");
        assertBad("{\"text\":\"a\"} {\"text\":\"b\"}\n", "line 1 goes on after its JSON object");
        assertBad("{\"body\":\"a\",\"id\":1}\n", "line 1 has none of the keys", "[body, id]");
        assertBad("{\"text\":5}\n", "line 1: \"text\" is not a string");
        assertBad("{\"messages\":[]}\n", "at least one message");
        assertBad("{\"messages\":[{\"role\":\"user\"}]}\n", "message 0 lacks \"content\"");
        assertBad("{\"text\":\"\uFFFD\"}\n".replace('\uFFFD', '\u00e9'), "not text in UTF-8");
        assertBad("", "is empty");
        assertBad("\n \n", "is empty");
        assertBad(
                "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}\n",
                "line 1 is a chat, but",
                "has no chat template",
                "give lines with \"text\"");
        assertThatExceptionOfType(CalibrationException.class)
                .isThrownBy(() ->
                        calibrator().data(folder.resolve("none.txt")).build().run())
                .withMessageContaining("There is no data set");
    }

    private void assertBad(String content, String... words) throws IOException {
        Path file = Files.write(folder.resolve("bad.jsonl"), content.getBytes(StandardCharsets.ISO_8859_1));
        assertThatExceptionOfType(CalibrationException.class)
                .isThrownBy(() -> calibrator().data(file).build().run())
                .satisfies(e -> assertThat(e).hasMessageContainingAll(words));
    }

    @Test
    void refusesSettingsThatMakeNoSense() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> calibrator().sampleLength(4096).build().run())
                .withMessageContaining("The sample length is 4096; the model was made for at most 2048 tokens");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> Calibrator.builder().model(TinyModel.FOLDER).build())
                .withMessageContaining("needs a model, and data");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> calibrator().samples(0).build())
                .withMessageContaining("The number of samples is 0");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> calibrator().margin(0.9).build())
                .withMessageContaining("The margin is 0.9");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> calibrator().dtype(KvCacheDType.BFLOAT16).build())
                .withMessageContaining("fp8_e4m3 and fp8_e5m2");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> calibrator().resume(true).build())
                .withMessageContaining("give the file that the state was kept in");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> calibrator().build().run().scales(Granularity.DYNAMIC))
                .withMessageContaining("not calibrated");
    }
}
