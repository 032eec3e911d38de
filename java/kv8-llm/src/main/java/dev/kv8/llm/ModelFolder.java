package dev.kv8.llm;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Stream;

/** The files of a Hugging Face model folder, looked for before any is read: a download that broke off is named at once and whole. */
final class ModelFolder {
    private static final List<String> OTHER_WEIGHTS =
            List.of(".bin", ".gguf", ".pt", ".pth", ".onnx", ".h5", ".msgpack");

    private ModelFolder() {}

    /**
     * Looks for all files that a model consists of.
     *
     * @throws CheckpointException naming all that are missing
     */
    static void requireComplete(Path folder) {
        if (!Files.isDirectory(folder)) {
            throw new CheckpointException(
                    folder + " is not a folder; give a folder with config.json, tokenizer.json and " + Checkpoint.SINGLE
                            + ", as Hugging Face's hub has them.");
        }
        List<String> faults = new ArrayList<>();
        for (String name : List.of("config.json", "tokenizer.json")) {
            if (!Files.isRegularFile(folder.resolve(name))) {
                faults.add(name + " is missing");
            }
        }
        Path index = folder.resolve(Checkpoint.INDEX);
        if (Files.exists(index)) {
            missingShards(folder, index)
                    .forEach(shard -> faults.add(shard + " is missing; " + Checkpoint.INDEX + " names it"));
        } else if (!Files.exists(folder.resolve(Checkpoint.SINGLE))) {
            faults.add("weights are missing: " + Checkpoint.SINGLE + ", or shards and " + Checkpoint.INDEX
                    + otherWeights(folder));
        }
        if (!faults.isEmpty()) {
            throw new CheckpointException(folder + " is not a complete model:\n  " + String.join("\n  ", faults)
                    + "\nFetch all files of the model again (hf download), or let transformers write them"
                    + " (save_pretrained of model and tokenizer).");
        }
    }

    private static Set<String> missingShards(Path folder, Path index) {
        Set<String> missing = new TreeSet<>();
        JsonObject weightMap = JsonObject.read(index).requireObject("weight_map");
        for (String tensor : weightMap.keys()) {
            weightMap
                    .text(tensor)
                    .filter(Checkpoint::isShardName)
                    .filter(shard -> !Files.exists(folder.resolve(shard)))
                    .ifPresent(missing::add);
        }
        return missing;
    }

    private static String otherWeights(Path folder) {
        try (Stream<Path> files = Files.list(folder)) {
            List<String> others = files.map(file -> String.valueOf(file.getFileName()))
                    .filter(name -> OTHER_WEIGHTS.stream().anyMatch(name::endsWith))
                    .sorted()
                    .toList();
            return others.isEmpty() ? "" : "; " + String.join(", ", others) + " can't be read";
        } catch (IOException e) {
            throw new CheckpointException(folder + " can't be listed: " + e, e);
        }
    }
}
