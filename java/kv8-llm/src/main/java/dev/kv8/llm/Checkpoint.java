package dev.kv8.llm;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Pattern;

/** The tensors of a Hugging Face model folder, in one safetensors file or in shards named by an index. */
final class Checkpoint implements AutoCloseable {
    static final String SINGLE = "model.safetensors";
    static final String INDEX = "model.safetensors.index.json";
    private static final Pattern PLAIN_NAME = Pattern.compile("[A-Za-z0-9_-][A-Za-z0-9._-]*");

    private final Path folder;
    private final List<SafetensorsFile> files = new ArrayList<>();
    private final Map<String, StoredTensor> tensors = new LinkedHashMap<>();

    private Checkpoint(Path folder) {
        this.folder = folder;
    }

    static Checkpoint open(Path folder) {
        if (!Files.isDirectory(folder)) {
            throw new CheckpointException(
                    folder + " is not a folder; give a folder with config.json, tokenizer.json and " + SINGLE + ".");
        }
        Checkpoint checkpoint = new Checkpoint(folder);
        try {
            if (Files.exists(folder.resolve(INDEX))) {
                checkpoint.openShards(folder.resolve(INDEX));
            } else if (Files.exists(folder.resolve(SINGLE))) {
                checkpoint.openFile(SINGLE).forEach(checkpoint.tensors::put);
            } else {
                throw new CheckpointException(folder + " has neither " + SINGLE + " nor " + INDEX
                        + "; other formats of weights are not read.");
            }
            return checkpoint;
        } catch (RuntimeException e) {
            checkpoint.close();
            throw e;
        }
    }

    /** Whether an index may name it: a file of the folder, not a path that leads out of it. */
    static boolean isShardName(String name) {
        return PLAIN_NAME.matcher(name).matches();
    }

    private void openShards(Path index) {
        JsonObject weightMap = JsonObject.read(index)
                .object("weight_map")
                .orElseThrow(() -> new CheckpointException(index + " has no \"weight_map\"."));
        Map<String, Map<String, StoredTensor>> shards = new LinkedHashMap<>();
        for (String name : weightMap.keys()) {
            String shard = weightMap.text(name).orElseThrow();
            if (!isShardName(shard)) {
                throw new CheckpointException(index + " names the shard \"" + shard + "\" for " + name
                        + "; a shard is a file of this folder.");
            }
            StoredTensor tensor = shards.computeIfAbsent(shard, this::openFile).get(name);
            if (tensor == null) {
                throw new CheckpointException(index + " says that " + shard + " holds the tensor " + name
                        + ", but it does not. Fetch both files again.");
            }
            tensors.put(name, tensor);
        }
    }

    private Map<String, StoredTensor> openFile(String name) {
        SafetensorsFile file = SafetensorsFile.open(folder.resolve(name));
        files.add(file);
        Map<String, StoredTensor> found = new LinkedHashMap<>();
        for (StoredTensor tensor : file.tensors()) {
            found.put(tensor.name(), tensor);
        }
        return found;
    }

    Path folder() {
        return folder;
    }

    Set<String> names() {
        return tensors.keySet();
    }

    Optional<StoredTensor> find(String name) {
        return Optional.ofNullable(tensors.get(name));
    }

    /** A tensor that is known to be there; {@link TensorManifest} checks that first. */
    StoredTensor get(String name) {
        return find(name).orElseThrow(() -> new CheckpointException(folder + " has no tensor named " + name + "."));
    }

    @Override
    public void close() {
        files.forEach(SafetensorsFile::close);
    }
}
