package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import dev.kv8.ByteSize;
import dev.kv8.DType;
import dev.kv8.KvBackend;
import dev.kv8.KvScales;
import dev.kv8.KvScales.Granularity;
import dev.kv8.KvScales.LayerScales;
import dev.kv8.KvScales.Side;
import dev.kv8.llm.KvCacheScheme.Observer;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteOrder;
import java.nio.ShortBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class CalibratedCheckpointTest {
    private static final String REPORT = "{\"samples\": 512}";
    private static final KvCacheScheme BY_HEAD = KvCacheScheme.of(Granularity.HEAD, Observer.MINMAX);
    private static final int LAYERS = 6;
    private static final int HEADS = 2;
    private static final int HEAD_SIZE = 64;

    @TempDir
    Path folder;

    private Path target() {
        return folder.resolve("calibrated");
    }

    private static Side side(Granularity granularity, int seed) {
        int length = switch (granularity) {
            case HEAD -> HEADS;
            case CHANNEL -> HEADS * HEAD_SIZE;
            default -> 1;
        };
        float[] values = new float[length];
        for (int i = 0; i < length; i++) {
            values[i] = (1 + seed * 131 + i) / 448f;
        }
        return switch (granularity) {
            case HEAD -> Side.head(values);
            case CHANNEL -> Side.channel(values);
            default -> Side.tensor(values[0]);
        };
    }

    private static KvScales scales(Granularity granularity) {
        KvScales.Builder builder = KvScales.builder(LAYERS, HEADS, HEAD_SIZE);
        for (int layer = 0; layer < LAYERS; layer++) {
            builder.layer(layer, new LayerScales(side(granularity, layer), side(granularity, layer + LAYERS)));
        }
        return builder.build();
    }

    private void write(Path source, Set<Integer> skipped, DType type) {
        CalibratedCheckpoint.write(source, target(), scales(Granularity.HEAD), skipped, BY_HEAD, type, REPORT);
    }

    private static JsonObject json(Path file) throws IOException {
        return JsonParser.parseString(Files.readString(file)).getAsJsonObject();
    }

    /** A model of the tiny one's shape, without weights worth the name, in two shards. */
    private Path sharded() throws IOException {
        Path source = Files.createDirectory(folder.resolve("sharded"));
        Files.copy(TinyModel.FOLDER.resolve("config.json"), source.resolve("config.json"));
        new SafetensorsWriter()
                .tensor("a", DType.FLOAT32, new float[] {1, 2, 3}, 3)
                .write(source.resolve("model-00001-of-00002.safetensors"));
        new SafetensorsWriter()
                .tensor("b", DType.BFLOAT16, new float[] {4, 5}, 2)
                .write(source.resolve("model-00002-of-00002.safetensors"));
        Files.writeString(source.resolve("model.safetensors.index.json"), """
                {
                  "metadata": {
                    "total_size": 16,
                    "note": 1e-05
                  },
                  "weight_map": {
                    "b": "model-00002-of-00002.safetensors",
                    "a": "model-00001-of-00002.safetensors"
                  }
                }
                """);
        return source;
    }

    private List<String> leftovers() throws IOException {
        try (Stream<Path> files = Files.list(folder)) {
            return files.map(file -> file.getFileName().toString())
                    .filter(name -> name.contains("calibrated"))
                    .toList();
        }
    }

    @Test
    void carriesEveryTensorAndFileOverBitForBit() throws IOException {
        write(TinyModel.FOLDER, Set.of(2), DType.FLOAT32);
        try (Stream<Path> files = Files.list(TinyModel.FOLDER)) {
            for (Path file : files.toList()) {
                Path copy = target().resolve(file.getFileName());
                if (!Set.of("config.json", "model.safetensors")
                        .contains(file.getFileName().toString())) {
                    assertThat(copy).hasSameBinaryContentAs(file);
                }
            }
        }
        StoredModel before = StoredModel.read(TinyModel.FOLDER.resolve("model.safetensors"));
        StoredModel after = StoredModel.read(target().resolve("model.safetensors"));
        assertThat(after.headerBytes % 8).isZero();
        assertThat(after.header.get("__metadata__")).isEqualTo(before.header.get("__metadata__"));
        assertThat(after.isCoveredWithoutHoles()).isTrue();
        Map<String, StoredModel.Tensor> tensors = after.tensors();
        assertThat(tensors).containsAllEntriesOf(before.tensors());
        tensors.keySet().removeAll(before.tensors().keySet());
        assertThat(tensors).hasSize(2 * (LAYERS - 1));
        for (int layer = 0; layer < LAYERS; layer++) {
            String attention = "model.layers." + layer + ".self_attn.";
            if (layer == 2) {
                assertThat(tensors).doesNotContainKeys(attention + "k_scale", attention + "v_scale");
                continue;
            }
            LayerScales expected = scales(Granularity.HEAD).layer(layer);
            StoredModel.Tensor k = after.tensor(attention + "k_scale");
            assertThat(k.dtype()).isEqualTo("F32");
            assertThat(k.shape()).isEqualTo("[2,1,1]");
            assertThat(k.floats()).containsExactly(expected.k().values());
            assertThat(after.tensor(attention + "v_scale").floats())
                    .containsExactly(expected.v().values());
        }
        assertThat(target().resolve("kv_calibration.json")).hasContent(REPORT);
        assertThat(leftovers()).containsExactly("calibrated");
    }

    @Test
    void saysInTheConfigurationWhatCompressedTensorsSays() throws IOException {
        write(TinyModel.FOLDER, Set.of(3, 0), DType.FLOAT32);
        JsonObject config = json(target().resolve("config.json"));
        JsonElement quantization = config.remove("quantization_config");
        JsonObject before = json(TinyModel.FOLDER.resolve("config.json"));
        assertThat(List.copyOf(config.keySet())).isEqualTo(List.copyOf(before.keySet()));
        assertThat(config).isEqualTo(before);
        String text = Files.readString(TinyModel.FOLDER.resolve("config.json")).stripTrailing();
        assertThat(Files.readString(target().resolve("config.json")))
                .startsWith(text.substring(0, text.length() - 1).stripTrailing() + ",");
        assertThat(quantization).isEqualTo(JsonParser.parseString("""
                {"quant_method": "compressed-tensors",
                 "format": "dense",
                 "quantization_status": "compressed",
                 "config_groups": {},
                 "ignore": ["model.layers.0.self_attn", "model.layers.3.self_attn"],
                 "global_compression_ratio": null,
                 "sparsity_config": {},
                 "transform_config": {},
                 "kv_cache_scheme": {
                   "num_bits": 8, "type": "float", "symmetric": true, "group_size": null, "strategy": "attn_head",
                   "block_structure": null, "dynamic": false, "actorder": null, "observer": "memoryless_minmax",
                   "observer_kwargs": {}}}"""));
    }

    @Test
    void namesStrategyAndObserverAsTheyAre() throws IOException {
        KvCacheScheme scheme = KvCacheScheme.percentile(Granularity.CHANNEL, 99.5);
        CalibratedCheckpoint.write(
                sharded(), target(), scales(Granularity.CHANNEL), Set.of(), scheme, DType.FLOAT32, REPORT);
        JsonObject quantization = json(target().resolve("config.json")).getAsJsonObject("quantization_config");
        JsonObject written = quantization.getAsJsonObject("kv_cache_scheme");
        assertThat(written.get("strategy").getAsString()).isEqualTo("channel");
        assertThat(written.get("observer").getAsString()).isEqualTo("percentile");
        assertThat(written.get("observer_kwargs")).isEqualTo(JsonParser.parseString("{\"percentile\": 99.5}"));
        assertThat(quantization.getAsJsonArray("ignore")).isEmpty();
    }

    @Test
    void extendsTheLastShardAndTheIndex() throws IOException {
        Path source = sharded();
        write(source, Set.of(), DType.FLOAT32);
        String first = "model-00001-of-00002.safetensors";
        String last = "model-00002-of-00002.safetensors";
        assertThat(target().resolve(first)).hasSameBinaryContentAs(source.resolve(first));
        StoredModel extended = StoredModel.read(target().resolve(last));
        assertThat(extended.tensors())
                .containsAllEntriesOf(StoredModel.read(source.resolve(last)).tensors())
                .hasSize(1 + 2 * LAYERS);
        assertThat(extended.isCoveredWithoutHoles()).isTrue();
        JsonObject index = json(target().resolve("model.safetensors.index.json"));
        assertThat(index.getAsJsonObject("metadata").get("total_size").getAsLong())
                .isEqualTo(16 + 2L * LAYERS * HEADS * 4);
        JsonObject map = index.getAsJsonObject("weight_map");
        assertThat(map.size()).isEqualTo(2 + 2 * LAYERS);
        assertThat(map.get("a").getAsString()).isEqualTo(first);
        assertThat(map.get("model.layers.5.self_attn.v_scale").getAsString()).isEqualTo(last);
        assertThat(Files.readString(target().resolve("model.safetensors.index.json")))
                .as("what stood there is as it stood")
                .contains("\"note\": 1e-05");
        assertThat(CheckpointScales.read(target()).orElseThrow().scales().layer(5))
                .isEqualTo(scales(Granularity.HEAD).layer(5));
    }

    @ParameterizedTest
    @EnumSource(names = {"TENSOR", "HEAD", "CHANNEL"})
    void isReadAgainAsItWasWritten(Granularity granularity) throws IOException {
        KvScales scales = scales(granularity);
        KvCacheScheme scheme = KvCacheScheme.of(granularity, Observer.MSE);
        CalibratedCheckpoint.write(sharded(), target(), scales, Set.of(1), scheme, DType.FLOAT32, REPORT);
        CheckpointScales.Found found = CheckpointScales.read(target()).orElseThrow();
        assertThat(found.skippedLayers()).containsExactly(1);
        for (int layer = 0; layer < LAYERS; layer++) {
            assertThat(found.scales().layer(layer))
                    .as("layer %d", layer)
                    .isEqualTo(layer == 1 ? LayerScales.NONE : scales.layer(layer));
        }
    }

    @Test
    void isWhatAnFp8CacheTakesItsScalesAndSkippedLayersFrom() {
        write(TinyModel.FOLDER, Set.of(0, 4), DType.FLOAT32);
        try (KvBackend backend = KvBackend.open("cpu");
                LLM llm = LLM.builder()
                        .model(target())
                        .backend(backend)
                        .kvCacheDType("fp8")
                        .kvCacheMemory(ByteSize.mib(16))
                        .build()) {
            assertThat(llm.cache().config().skipLayers()).containsExactly(0, 4);
            assertThat(llm.cache().config().kDtype(0)).isEqualTo(DType.BFLOAT16);
            assertThat(llm.cache().config().vDtype(1)).isEqualTo(DType.E4M3FN);
            assertThat(llm.cache().scales().layer(3))
                    .isEqualTo(scales(Granularity.HEAD).layer(3));
        }
    }

    @ParameterizedTest
    @EnumSource(names = {"BFLOAT16", "FLOAT16"})
    void roundsScalesToTheModelsTypeIfAsked(DType type) throws IOException {
        write(sharded(), Set.of(), type);
        StoredModel shard = StoredModel.read(target().resolve("model-00002-of-00002.safetensors"));
        assertThat(shard.tensor("model.layers.0.self_attn.k_scale").dtype())
                .isEqualTo(type == DType.BFLOAT16 ? "BF16" : "F16");
        float half = type == DType.BFLOAT16 ? 0x1p-9f : 0x1p-12f;
        CheckpointScales.Found found = CheckpointScales.read(target()).orElseThrow();
        for (int layer = 0; layer < LAYERS; layer++) {
            float[] exact = scales(Granularity.HEAD).layer(layer).v().values();
            float[] rounded = found.scales().layer(layer).v().values();
            for (int head = 0; head < HEADS; head++) {
                float unit = Math.scalb(half, Math.getExponent(exact[head]) + 1);
                assertThat(Math.abs(rounded[head] - exact[head]))
                        .as("layer %d, head %d: %s as %s", layer, head, exact[head], rounded[head])
                        .isLessThanOrEqualTo(unit);
            }
        }
    }

    @Test
    void roundsATieToEvenAndKeepsWhatTheTypeHas() {
        float[] values = {1, 1 + 0x1p-8f, 1 + 3 * 0x1p-8f, 1 + 0x1p-8f + 0x1p-20f};
        ScaleTensor stored = ScaleTensor.of("k", Side.head(values), 1, DType.BFLOAT16);
        assertThat(bits(stored)).containsExactly(0x3f80, 0x3f80, 0x3f82, 0x3f81);
        float[] halves = {1, 1 + 0x1p-11f, 1 + 3 * 0x1p-11f, 0x1p-15f, 3 * 0x1p-25f, 65504};
        assertThat(bits(ScaleTensor.of("k", Side.head(halves), 1, DType.FLOAT16)))
                .containsExactly(0x3c00, 0x3c00, 0x3c02, 0x0200, 0x0002, 0x7bff);
        assertThatIllegalArgumentException()
                .isThrownBy(() -> ScaleTensor.of("k_scale", Side.tensor(0x1p-26f), 1, DType.FLOAT16))
                .withMessageContaining("which float16 can't hold; store scales in float32");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> ScaleTensor.of("k_scale", Side.tensor(65520), 1, DType.FLOAT16))
                .withMessageContaining("store scales in float32");
    }

    private static int[] bits(ScaleTensor stored) {
        ShortBuffer shorts = stored.bytes().order(ByteOrder.LITTLE_ENDIAN).asShortBuffer();
        int[] bits = new int[shorts.remaining()];
        for (int i = 0; i < bits.length; i++) {
            bits[i] = shorts.get(i) & 0xffff;
        }
        return bits;
    }

    @Test
    void followsLinksAndCopiesFoldersInside() throws IOException {
        Path real = sharded();
        Path linked = Files.createDirectory(folder.resolve("snapshot"));
        try (Stream<Path> files = Files.list(real)) {
            for (Path file : files.toList()) {
                Files.createSymbolicLink(linked.resolve(file.getFileName()), file);
            }
        }
        Files.createDirectories(linked.resolve("original/deep"));
        Files.writeString(linked.resolve("original/deep/params.json"), "{}");
        write(linked, Set.of(), DType.FLOAT32);
        assertThat(target().resolve("original/deep/params.json")).hasContent("{}");
        try (Stream<Path> copied = Files.walk(target())) {
            assertThat(copied.filter(Files::isSymbolicLink)).isEmpty();
        }
        assertThat(CheckpointScales.read(target())).isPresent();
        Files.createSymbolicLink(linked.resolve("gone.bin"), folder.resolve("nothing"));
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> CalibratedCheckpoint.write(
                        linked,
                        folder.resolve("calibrated2"),
                        scales(Granularity.HEAD),
                        Set.of(),
                        BY_HEAD,
                        DType.FLOAT32,
                        REPORT))
                .withMessageContaining("gone.bin is neither a file nor a folder");
        assertThat(leftovers()).containsExactly("calibrated");
    }

    @Test
    void refusesAFolderThatExistsOrCannot() throws IOException {
        Path source = sharded();
        Files.createDirectory(target());
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> write(source, Set.of(), DType.FLOAT32))
                .withMessageContaining("calibrated exists already");
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> CalibratedCheckpoint.check(source, folder.resolve("none/calibrated")))
                .withMessageContaining("there is no folder");
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> CalibratedCheckpoint.check(source, source.resolve("calibrated")))
                .withMessageContaining("would be inside of");
    }

    @Test
    void refusesAModelThatIsQuantizedAlready() throws IOException {
        Path source = sharded();
        write(source, Set.of(), DType.FLOAT32);
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> CalibratedCheckpoint.check(target(), folder.resolve("again")))
                .withMessageContaining(
                        "is quantized already (compressed-tensors); calibrate the model that it was made");
        Files.copy(
                TinyModel.FOLDER.resolve("config.json"),
                target().resolve("config.json"),
                StandardCopyOption.REPLACE_EXISTING);
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> CalibratedCheckpoint.check(target(), folder.resolve("again")))
                .withMessageContaining("has KV scales already, such as model.layers.0.self_attn.k_scale");
    }

    @Test
    void refusesAConfigurationThatNamesNoQuantization() throws IOException {
        Path source = sharded();
        String config = Files.readString(source.resolve("config.json"));
        Files.writeString(source.resolve("config.json"), config.replaceFirst("\\{", "{\"quantization_config\": null,"));
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> CalibratedCheckpoint.check(source, target()))
                .withMessageContaining("\"quantization_config\" is null");
    }

    @Test
    void refusesScalesThatDoNotFit() throws IOException {
        Path source = sharded();
        KvCacheScheme byTensor = KvCacheScheme.of(Granularity.TENSOR, Observer.MINMAX);
        KvScales byHead = scales(Granularity.HEAD);
        assertThatIllegalArgumentException()
                .isThrownBy(() ->
                        CalibratedCheckpoint.write(source, target(), byHead, Set.of(), byTensor, DType.FLOAT32, REPORT))
                .withMessageContaining("k_scale of layer 0 is by HEAD with 2 values; the scheme's strategy is tensor");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> CalibratedCheckpoint.write(
                        source, target(), KvScales.none(5), Set.of(), byTensor, DType.FLOAT32, REPORT))
                .withMessageContaining("scales of 5 layers, but the model has 6");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> write(source, Set.of(6), DType.FLOAT32))
                .withMessageContaining("Layer 6 can't be skipped; the model has layers 0 to 5");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> CalibratedCheckpoint.write(
                        source, target(), byHead, Set.of(), KvCacheScheme.dynamic(), DType.FLOAT32, REPORT))
                .withMessageContaining("Dynamic scales are computed at each write");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> write(source, Set.of(), DType.E4M3FN))
                .withMessageContaining("float32, bfloat16 or float16");
        assertThat(leftovers()).isEmpty();
    }

    @Test
    void refusesScalesThatWouldNotBeAligned() throws IOException {
        Path source = sharded();
        new SafetensorsWriter()
                .tensor("b", DType.BFLOAT16, new float[] {4, 5, 6}, 3)
                .write(source.resolve("model-00002-of-00002.safetensors"));
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> write(source, Set.of(), DType.FLOAT32))
                .withMessageContaining("has 6 bytes of tensors")
                .withMessageContaining("Store scales in the model's own type");
        assertThat(leftovers()).isEmpty();
        write(source, Set.of(), DType.BFLOAT16);
        assertThat(CheckpointScales.read(target())).isPresent();
    }

    @Test
    void refusesADiskWithoutSpaceBeforeItBegins() throws IOException {
        Path source = sharded();
        long free = Files.getFileStore(folder).getUsableSpace();
        // A file of nothing but a hole takes no space where it is, but would where it is copied to.
        try (RandomAccessFile hole =
                new RandomAccessFile(source.resolve("hole.bin").toFile(), "rw")) {
            hole.setLength(free + (1L << 30));
        }
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> write(source, Set.of(), DType.FLOAT32))
                .withMessageMatching("(?s).*calibrated needs [0-9.]+ .iB, but only [0-9.]+ .iB are free there.*");
        assertThat(leftovers()).isEmpty();
    }

    /** What a child JVM runs. */
    public static final class Main {
        private Main() {}

        public static void main(String[] folders) {
            try {
                CalibratedCheckpoint.write(
                        Path.of(folders[0]),
                        Path.of(folders[1]),
                        scales(Granularity.HEAD),
                        Set.of(),
                        BY_HEAD,
                        DType.FLOAT32,
                        REPORT);
                System.out.println("written");
            } catch (CheckpointException e) {
                System.out.println(e.getMessage());
            }
        }
    }

    @Test
    void leavesNothingWhenTheDiskIsFull() throws Exception {
        // Files may have 4 MiB (8192 units of 512 bytes), less than the tiny model's weights.
        List<String> command = new ArrayList<>(List.of("sh", "-c", "ulimit -f 8192; exec \"$@\"", "sh"));
        command.addAll(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-cp",
                System.getProperty("java.class.path"),
                Main.class.getName(),
                TinyModel.FOLDER.toString(),
                target().toString()));
        Process child = new ProcessBuilder(command).redirectErrorStream(true).start();
        String output = new String(child.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        child.waitFor();
        assertThat(output)
                .contains("calibrated could not be written: java.io.IOException: File too large")
                .contains("Nothing is left of it");
        assertThat(leftovers()).isEmpty();
    }
}
