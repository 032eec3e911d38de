package dev.kv8.llm;

import dev.kv8.ByteSize;
import dev.kv8.DType;
import dev.kv8.KvScales;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileSystemLoopException;
import java.nio.file.FileVisitOption;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * Writes a copy of a model folder that carries KV scales, as LLM Compressor would: every file as it is, but for
 *
 * <ul>
 *   <li>the safetensors file, or the last shard and the index, which get {@code model.layers.N.self_attn.k_scale} and
 *       {@code v_scale} behind their own tensors;
 *   <li>config.json, which gets a {@code quantization_config} of compressed-tensors for a model whose cache alone is
 *       quantized;
 *   <li>{@code kv_calibration.json}, the calibration's report.
 * </ul>
 *
 * <p>The fields are those that compressed-tensors writes (its quant_config.py, quant_args.py and model_compressor.py of
 * August 2026): {@code format} is dense because no weight is quantized, {@code quantization_status} compressed because that
 * is what a saved model is, {@code config_groups} empty, and a skipped layer's attention is in {@code ignore}. Two fields of
 * the scheme, {@code scale_dtype} and {@code zp_dtype}, are left out: null is their default, and releases of 2025 and before
 * refuse a scheme that has them. So is {@code version}, which names the release of compressed-tensors that wrote a file.
 *
 * <p>vLLM takes no notice of {@code ignore} for its cache: there, skipped layers are named again ({@code
 * --kv-cache-dtype-skip-layers}), or they are stored with scale 1.0.
 *
 * <p>A reader that knows only scales by tensor or head can tell from {@code strategy} channel that these are not for it.
 *
 * <p>The copy appears whole or not at all, and the source is only read.
 */
final class CalibratedCheckpoint {
    static final String REPORT = "kv_calibration.json";

    private static final int ALIGNMENT = 8;

    private final Path source;
    private final Path target;
    private final List<ScaleTensor> tensors;
    private final String quantizationConfig;

    private CalibratedCheckpoint(Path source, Path target, List<ScaleTensor> tensors, String quantizationConfig) {
        this.source = source;
        this.target = target;
        this.tensors = tensors;
        this.quantizationConfig = quantizationConfig;
    }

    /**
     * Refuses what {@link #write} would refuse whatever the scales are, so that nobody calibrates in vain.
     *
     * @throws CheckpointException when the target exists or can't, or the source is quantized or has scales already
     */
    static void check(Path source, Path target) {
        if (Files.exists(target, LinkOption.NOFOLLOW_LINKS)) {
            throw new CheckpointException(target + " exists already; give a folder that does not.");
        }
        Path parent = target.toAbsolutePath().normalize().getParent();
        if (parent == null || !Files.isDirectory(parent)) {
            throw new CheckpointException(
                    target + " can't be written: there is no folder " + parent + ". Create it, or give another.");
        }
        ModelConfig.read(source);
        QuantizationConfig.read(source).ifPresent(quantization -> {
            throw new CheckpointException(source + " is quantized already (" + quantization.method()
                    + "); calibrate the model that it was made from.");
        });
        JsonObject config = JsonObject.read(source.resolve("config.json"));
        if (config.isNull("quantization_config")) {
            throw config.refused("quantization_config", "is null where the copy gets its own; remove it");
        }
        try (Checkpoint checkpoint = Checkpoint.open(source)) {
            checkpoint.names().stream().filter(LayerNames::isScale).findFirst().ifPresent(name -> {
                throw new CheckpointException(source + " has KV scales already, such as " + name
                        + "; calibrate the model that it was made from.");
            });
        }
        try {
            if (parent.toRealPath().startsWith(source.toRealPath())) {
                throw new CheckpointException(target + " would be inside of " + source + "; give a folder elsewhere.");
            }
        } catch (IOException e) {
            throw new CheckpointException(source + " cannot be read: " + e, e);
        }
    }

    /**
     * Writes the copy.
     *
     * @param source a Hugging Face folder, whose symbolic links are followed
     * @param target a folder that does not exist, in one that does
     * @param scales for E4M3, which is what the scheme means by 8-bit float, of the scheme's granularity in all layers that are not skipped
     * @param skippedLayers whose keys and values stay in 16 bits
     * @param scheme with static scales
     * @param scaleType FLOAT32, or the model's own BFLOAT16 or FLOAT16, as LLM Compressor does, which rounds the scales
     * @param reportJson the calibration's report
     * @throws CheckpointException when the source can't be used, or the target can't be written; nothing is left of it then
     * @throws IllegalArgumentException when the scales do not fit the model, the scheme or the type
     */
    static void write(
            Path source,
            Path target,
            KvScales scales,
            Set<Integer> skippedLayers,
            KvCacheScheme scheme,
            DType scaleType,
            String reportJson) {
        check(source, target);
        List<ScaleTensor> tensors = tensors(ModelConfig.read(source), scales, skippedLayers, scheme, scaleType);
        String quantizationConfig = quantizationConfig(scheme, skippedLayers);
        new CalibratedCheckpoint(source, target, tensors, quantizationConfig).write(reportJson);
    }

    private static List<ScaleTensor> tensors(
            ModelConfig config, KvScales scales, Set<Integer> skippedLayers, KvCacheScheme scheme, DType scaleType) {
        if (!scheme.needsCalibration()) {
            throw new IllegalArgumentException(
                    "Dynamic scales are computed at each write; a checkpoint has none, and needs no calibration.");
        }
        if (scales.layers() != config.layers()) {
            throw new IllegalArgumentException(
                    "There are scales of " + scales.layers() + " layers, but the model has " + config.layers() + ".");
        }
        for (int layer : skippedLayers) {
            if (layer < 0 || layer >= config.layers()) {
                throw new IllegalArgumentException("Layer " + layer + " can't be skipped; the model has layers 0 to "
                        + (config.layers() - 1) + ".");
            }
        }
        List<ScaleTensor> tensors = new ArrayList<>();
        for (int layer = 0; layer < config.layers(); layer++) {
            if (!skippedLayers.contains(layer)) {
                KvScales.LayerScales both = scales.layer(layer);
                tensors.add(tensor(layer, "k", both.k(), config, scheme, scaleType));
                tensors.add(tensor(layer, "v", both.v(), config, scheme, scaleType));
            }
        }
        return tensors;
    }

    private static ScaleTensor tensor(
            int layer, String which, KvScales.Side side, ModelConfig config, KvCacheScheme scheme, DType scaleType) {
        String what = which + "_scale of layer " + layer;
        int expected = switch (scheme.granularity()) {
            case HEAD -> config.kvHeads();
            case CHANNEL -> config.kvHeads() * config.headSize();
            case TENSOR, NONE, DYNAMIC -> 1;
        };
        int found = side.values().length;
        if (side.granularity() != scheme.granularity() || found != expected) {
            throw new IllegalArgumentException(what + " is by " + side.granularity() + " with " + found
                    + " values; the scheme's strategy is " + scheme.strategy() + ", so it must be by "
                    + scheme.granularity() + " with " + expected + ".");
        }
        return ScaleTensor.of(new LayerNames(layer).scale(which), side, config.headSize(), scaleType);
    }

    private static String quantizationConfig(KvCacheScheme scheme, Set<Integer> skippedLayers) {
        String ignore = new TreeSet<>(skippedLayers)
                .stream()
                        .map(layer -> "\"" + new LayerNames(layer).attentionModule() + "\"")
                        .collect(Collectors.joining(", ", "[", "]"));
        String options = scheme.percentile().isPresent()
                ? "{\"percentile\": " + scheme.percentile().getAsDouble() + "}"
                : "{}";
        return """
                {
                    "config_groups": {},
                    "format": "dense",
                    "global_compression_ratio": null,
                    "ignore": %s,
                    "kv_cache_scheme": {
                      "actorder": null,
                      "block_structure": null,
                      "dynamic": false,
                      "group_size": null,
                      "num_bits": 8,
                      "observer": "%s",
                      "observer_kwargs": %s,
                      "strategy": "%s",
                      "symmetric": true,
                      "type": "float"
                    },
                    "quant_method": "compressed-tensors",
                    "quantization_status": "compressed",
                    "sparsity_config": {},
                    "transform_config": {}
                  }""".formatted(ignore, scheme.observerName(), options, scheme.strategy());
    }

    private void write(String reportJson) {
        Path root = Path.of("");
        Path extended = extendedFile();
        try {
            List<Path> files = files();
            refuseWithoutSpace(files);
            try (StagedFolder staged = StagedFolder.beside(target)) {
                for (Path file : files) {
                    Path relative = source.relativize(file);
                    if (Files.isDirectory(file)) {
                        staged.createFolder(relative);
                    } else if (relative.equals(extended)) {
                        extend(file, relative, staged);
                    } else if (relative.equals(root.resolve(Checkpoint.INDEX))) {
                        staged.write(relative, extendedIndex(file, extended));
                    } else if (relative.equals(root.resolve("config.json"))) {
                        staged.write(relative, configured(file));
                    } else if (!relative.equals(root.resolve(REPORT))) {
                        staged.copy(file, relative);
                    }
                }
                staged.write(root.resolve(REPORT), reportJson.getBytes(StandardCharsets.UTF_8));
                staged.publish();
            }
        } catch (IOException e) {
            throw new CheckpointException(
                    target + " could not be written: " + e + ". Nothing is left of it, and " + source
                            + " is unchanged.",
                    e);
        }
    }

    /** The single file, or the last shard. */
    private Path extendedFile() {
        Path index = source.resolve(Checkpoint.INDEX);
        if (!Files.exists(index)) {
            return Path.of(Checkpoint.SINGLE);
        }
        JsonObject weightMap = JsonObject.read(index).requireObject("weight_map");
        TreeSet<String> shards = new TreeSet<>();
        for (String name : weightMap.keys()) {
            weightMap.text(name).ifPresent(shards::add);
        }
        return Path.of(shards.last());
    }

    /** Folders before what is in them. */
    private List<Path> files() throws IOException {
        List<Path> files;
        try (Stream<Path> walk = Files.walk(source, FileVisitOption.FOLLOW_LINKS)) {
            files = walk.filter(file -> !file.equals(source)).toList();
        } catch (UncheckedIOException e) {
            if (e.getCause() instanceof FileSystemLoopException loop) {
                throw new CheckpointException(
                        source + " has a symbolic link to a folder that it is in: " + loop.getFile(), e);
            }
            throw e.getCause() == null ? new IOException(e) : e.getCause();
        }
        for (Path file : files) {
            if (!Files.isDirectory(file) && !Files.isRegularFile(file)) {
                throw new CheckpointException(
                        file + " is neither a file nor a folder, so it can't be copied; it may be a"
                                + " link to nothing. Fetch the model again, or remove it.");
            }
        }
        return files;
    }

    private void refuseWithoutSpace(List<Path> files) throws IOException {
        long needed = tensors.stream().mapToLong(ScaleTensor::size).sum();
        for (Path file : files) {
            needed += Files.isDirectory(file) ? 0 : Files.size(file);
        }
        Path parent = target.toAbsolutePath().getParent();
        long free = parent == null ? 0 : Files.getFileStore(parent).getUsableSpace();
        if (free < needed) {
            throw new CheckpointException(target + " needs " + ByteSize.of(needed) + ", but only " + ByteSize.of(free)
                    + " are free there; free some, or give a folder on another disk.");
        }
    }

    /** Streams the file with the scales behind its own tensors, whose bytes stay as they are. */
    private void extend(Path file, Path relative, StagedFolder staged) throws IOException {
        try (SafetensorsFile opened = SafetensorsFile.open(file);
                FileChannel in = FileChannel.open(file, StandardOpenOption.READ);
                FileChannel out = staged.create(relative)) {
            byte[] header = opened.header();
            long begin = (long) Long.BYTES + header.length;
            long end = in.size();
            long offset = end - begin;
            Map<String, String> entries = new LinkedHashMap<>();
            for (ScaleTensor tensor : tensors) {
                if (offset % tensor.type().bytes() != 0) {
                    throw new CheckpointException(
                            file + " has " + (end - begin) + " bytes of tensors, so a scale of " + tensor.type()
                                    + " behind them would not be aligned. Store scales in the model's own type.");
                }
                entries.put(tensor.name(), tensor.entry(offset));
                offset += tensor.size();
            }
            StagedFolder.append(header(new JsonText(file.toString(), header).with(entries, "")), out);
            StagedFolder.append(in, begin, end, out);
            for (ScaleTensor tensor : tensors) {
                StagedFolder.append(tensor.bytes(), out);
            }
            out.force(true);
        }
    }

    /** Length and text, padded with spaces so that tensors begin at a multiple of 8 bytes. */
    private static ByteBuffer header(JsonText json) {
        int length = json.bytes().length;
        int padded = (length + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        ByteBuffer result = ByteBuffer.allocate(Long.BYTES + padded).order(ByteOrder.LITTLE_ENDIAN);
        result.putLong(padded).put(json.bytes());
        while (result.hasRemaining()) {
            result.put((byte) ' ');
        }
        return result.flip();
    }

    private byte[] extendedIndex(Path index, Path shard) throws IOException {
        Map<String, String> entries = new LinkedHashMap<>();
        long added = 0;
        for (ScaleTensor tensor : tensors) {
            entries.put(tensor.name(), "\"" + shard + "\"");
            added += tensor.size();
        }
        return new JsonText(index.toString(), Files.readAllBytes(index))
                .with(entries, "\n    ", "weight_map")
                .raised(added, "metadata", "total_size")
                .bytes();
    }

    private byte[] configured(Path config) throws IOException {
        return new JsonText(config.toString(), Files.readAllBytes(config))
                .with(Map.of("quantization_config", quantizationConfig), "\n  ")
                .bytes();
    }
}
