package dev.kv8.llm;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import dev.kv8.DType;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.function.Function;

/**
 * A tiny checkpoint of random weights as Hugging Face would store it: config.json, safetensors, and the tiny model's tokenizer. What
 * tensors there are follows from config.json by what the architectures' papers and model cards say, not by what the engine expects.
 * Weights are multiples of 2^-6 below 2, so they are the same numbers in every type.
 */
final class RandomCheckpoint {
    private final Path folder;
    private final JsonObject config;
    private final Map<String, long[]> shapes = new LinkedHashMap<>();

    /**
     * Writes config.json.
     *
     * @param json with apostrophes in place of quotation marks
     */
    RandomCheckpoint(Path folder, String json) {
        this.folder = folder;
        config = JsonParser.parseString(json.replace('\'', '"')).getAsJsonObject();
        try {
            Files.createDirectories(folder);
            Files.writeString(folder.resolve("config.json"), config.toString());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        shapes();
    }

    /** By tensor name; a test may change them before it writes. */
    Map<String, long[]> shapesByName() {
        return shapes;
    }

    private long size(String key) {
        return config.get(key).getAsLong();
    }

    private boolean flag(String key) {
        return config.has(key) && config.get(key).getAsBoolean();
    }

    private void shapes() {
        String architecture =
                config.getAsJsonArray("architectures").get(0).getAsString().replace("ForCausalLM", "");
        boolean gemma = architecture.startsWith("Gemma");
        boolean attentionBias = flag("attention_bias");
        boolean qkvBias = attentionBias || architecture.equals("Qwen2");
        boolean headNorms = architecture.equals("Qwen3") || architecture.equals("Gemma3");
        long hidden = size("hidden_size");
        long heads = size("num_attention_heads");
        long head = config.has("head_dim") ? size("head_dim") : hidden / heads;
        long keys = (config.has("num_key_value_heads") ? size("num_key_value_heads") : heads) * head;
        long inner = size("intermediate_size");
        shapes.put("model.embed_tokens.weight", new long[] {size("vocab_size"), hidden});
        for (int layer = 0; layer < size("num_hidden_layers"); layer++) {
            String prefix = "model.layers." + layer + ".";
            projection(prefix + "self_attn.q_proj", heads * head, hidden, qkvBias);
            projection(prefix + "self_attn.k_proj", keys, hidden, qkvBias);
            projection(prefix + "self_attn.v_proj", keys, hidden, qkvBias);
            projection(prefix + "self_attn.o_proj", hidden, heads * head, attentionBias);
            if (headNorms) {
                shapes.put(prefix + "self_attn.q_norm.weight", new long[] {head});
                shapes.put(prefix + "self_attn.k_norm.weight", new long[] {head});
            }
            projection(prefix + "mlp.gate_proj", inner, hidden, flag("mlp_bias"));
            projection(prefix + "mlp.up_proj", inner, hidden, flag("mlp_bias"));
            projection(prefix + "mlp.down_proj", hidden, inner, flag("mlp_bias"));
            shapes.put(prefix + "input_layernorm.weight", new long[] {hidden});
            shapes.put(prefix + "post_attention_layernorm.weight", new long[] {hidden});
            if (architecture.equals("Gemma2") || architecture.equals("Gemma3")) {
                shapes.put(prefix + "pre_feedforward_layernorm.weight", new long[] {hidden});
                shapes.put(prefix + "post_feedforward_layernorm.weight", new long[] {hidden});
            }
        }
        shapes.put("model.norm.weight", new long[] {hidden});
        boolean tied = config.has("tie_word_embeddings") ? flag("tie_word_embeddings") : gemma;
        if (!tied) {
            shapes.put("lm_head.weight", new long[] {size("vocab_size"), hidden});
        }
    }

    private void projection(String name, long outputs, long inputs, boolean bias) {
        shapes.put(name + ".weight", new long[] {outputs, inputs});
        if (bias) {
            shapes.put(name + ".bias", new long[] {outputs});
        }
    }

    /** Between -0.25 and 0.25, norms between 0.5 and 1.5. */
    private static float[] values(SplittableRandom random, String name, long[] shape) {
        long count = 1;
        for (long dimension : shape) {
            count *= dimension;
        }
        float[] values = new float[(int) count];
        boolean norm = name.endsWith("norm.weight");
        for (int i = 0; i < values.length; i++) {
            values[i] = norm ? 0.5f + random.nextInt(64) / 64f : (random.nextInt(33) - 16) / 64f;
        }
        return values;
    }

    /** Writes the tensors, in one file or in two by turns. */
    RandomCheckpoint write(DType dtype, boolean sharded, long seed) {
        return write(name -> dtype, sharded, seed);
    }

    /** Writes tensors of the types that their names have. */
    RandomCheckpoint write(Function<String, DType> types, boolean sharded, long seed) {
        SplittableRandom random = new SplittableRandom(seed);
        SafetensorsWriter[] files = {new SafetensorsWriter(), new SafetensorsWriter()};
        JsonObject weightMap = new JsonObject();
        int count = 0;
        for (Map.Entry<String, long[]> entry : shapes.entrySet()) {
            int file = sharded ? count++ % 2 : 0;
            String name = entry.getKey();
            files[file].tensor(name, types.apply(name), values(random, name, entry.getValue()), entry.getValue());
            weightMap.addProperty(name, "model-0000" + (file + 1) + "-of-00002.safetensors");
        }
        try {
            if (sharded) {
                files[0].write(folder.resolve("model-00001-of-00002.safetensors"));
                files[1].write(folder.resolve("model-00002-of-00002.safetensors"));
                JsonObject index = new JsonObject();
                index.add("weight_map", weightMap);
                Files.writeString(folder.resolve("model.safetensors.index.json"), index.toString());
            } else {
                files[0].write(folder.resolve("model.safetensors"));
            }
            Files.copy(TinyModel.FOLDER.resolve("tokenizer.json"), folder.resolve("tokenizer.json"));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return this;
    }
}
