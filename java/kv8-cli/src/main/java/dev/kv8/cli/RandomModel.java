package dev.kv8.cli;

import static java.nio.charset.StandardCharsets.UTF_8;

import dev.kv8.llm.ModelConfig;
import dev.kv8.llm.internal.JsonWriting;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.SplittableRandom;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * A Llama of any size with random bfloat16 weights and another model's tokenizer, in a folder of its own until it is closed: what it says
 * is nonsense, and takes as long as sense. Heads have 64 elements, four query heads share a KV head, as in Llama 3.
 */
final class RandomModel implements AutoCloseable {
    private static final Pattern SIZE = Pattern.compile("(\\d{2,5})x(\\d{1,3})");
    private static final int HEAD_SIZE = 64;
    private static final int GROUP = 4;
    private static final int MULTIPLE = HEAD_SIZE * GROUP;
    private static final int WINDOW_BYTES = 1 << 20;
    private static final short ONE = 0x3F80;
    private static final List<String> TOKENIZER = List.of("tokenizer.json", "tokenizer_config.json");

    private final Path folder;

    private RandomModel(Path folder) {
        this.folder = folder;
    }

    /** A tensor by its shape; vectors are norms. */
    private record Tensor(String name, int rows, int columns) {
        long elements() {
            return (long) rows * Math.max(1, columns);
        }
    }

    /**
     * Writes one.
     *
     * @param size hidden size and number of layers, {@code 1024x12}
     * @param tokenizer a model's folder
     * @throws IllegalArgumentException when the size is none
     */
    static RandomModel write(String size, Path tokenizer) throws IOException {
        Matcher numbers = SIZE.matcher(size);
        if (!numbers.matches() || Integer.parseInt(numbers.group(1)) % MULTIPLE != 0) {
            throw new IllegalArgumentException("The size \"" + size + "\" is none; give the hidden size, a multiple of "
                    + MULTIPLE + ", and the number of layers, such as 1024x12.");
        }
        int hidden = Integer.parseInt(numbers.group(1));
        int layers = Integer.parseInt(numbers.group(2));
        ModelConfig base = ModelConfig.read(tokenizer);
        RandomModel model = new RandomModel(Files.createTempDirectory("kv8-random-model"));
        try {
            for (String file : TOKENIZER) {
                Files.copy(tokenizer.resolve(file), model.folder.resolve(file));
            }
            int between = (hidden * 11 / 4 + MULTIPLE - 1) / MULTIPLE * MULTIPLE;
            model.writeConfig(base, hidden, between, layers);
            model.writeWeights(tensors(base.vocabularySize(), hidden, between, layers));
            return model;
        } catch (IOException | RuntimeException e) {
            model.close();
            throw e;
        }
    }

    Path folder() {
        return folder;
    }

    private void writeConfig(ModelConfig base, int hidden, int between, int layers) throws IOException {
        String config = JsonWriting.object(out -> {
            out.writeArrayFieldStart("architectures");
            out.writeString("LlamaForCausalLM");
            out.writeEndArray();
            out.writeNumberField("vocab_size", base.vocabularySize());
            out.writeNumberField("hidden_size", hidden);
            out.writeNumberField("intermediate_size", between);
            out.writeNumberField("num_hidden_layers", layers);
            out.writeNumberField("num_attention_heads", hidden / HEAD_SIZE);
            out.writeNumberField("num_key_value_heads", hidden / HEAD_SIZE / GROUP);
            out.writeNumberField("head_dim", HEAD_SIZE);
            out.writeStringField("hidden_act", "silu");
            out.writeNumberField("max_position_embeddings", base.maxPositions());
            out.writeNumberField("rms_norm_eps", 1e-5);
            out.writeNumberField("rope_theta", 10_000.0);
            out.writeBooleanField("tie_word_embeddings", true);
            out.writeStringField("torch_dtype", "bfloat16");
        });
        Files.writeString(folder.resolve("config.json"), config);
    }

    private static List<Tensor> tensors(int vocabulary, int hidden, int between, int layers) {
        int kv = hidden / GROUP;
        List<Tensor> result = new ArrayList<>();
        result.add(new Tensor("model.embed_tokens.weight", vocabulary, hidden));
        for (int i = 0; i < layers; i++) {
            String layer = "model.layers." + i + ".";
            result.add(new Tensor(layer + "input_layernorm.weight", hidden, 0));
            result.add(new Tensor(layer + "self_attn.q_proj.weight", hidden, hidden));
            result.add(new Tensor(layer + "self_attn.k_proj.weight", kv, hidden));
            result.add(new Tensor(layer + "self_attn.v_proj.weight", kv, hidden));
            result.add(new Tensor(layer + "self_attn.o_proj.weight", hidden, hidden));
            result.add(new Tensor(layer + "post_attention_layernorm.weight", hidden, 0));
            result.add(new Tensor(layer + "mlp.gate_proj.weight", between, hidden));
            result.add(new Tensor(layer + "mlp.up_proj.weight", between, hidden));
            result.add(new Tensor(layer + "mlp.down_proj.weight", hidden, between));
        }
        result.add(new Tensor("model.norm.weight", hidden, 0));
        return result;
    }

    private void writeWeights(List<Tensor> tensors) throws IOException {
        byte[] header = header(tensors);
        ByteBuffer window = ByteBuffer.allocate(WINDOW_BYTES).order(ByteOrder.LITTLE_ENDIAN);
        SplittableRandom random = new SplittableRandom(1);
        try (FileChannel channel = FileChannel.open(
                folder.resolve("model.safetensors"), StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
            window.putLong(header.length);
            drain(window, channel);
            channel.write(ByteBuffer.wrap(header));
            for (Tensor tensor : tensors) {
                double deviation = 1 / Math.sqrt(Math.max(1, tensor.columns()));
                for (long i = 0; i < tensor.elements(); i++) {
                    window.putShort(tensor.columns() == 0 ? ONE : bfloat16(random, deviation));
                    if (!window.hasRemaining()) {
                        drain(window, channel);
                    }
                }
            }
            drain(window, channel);
        }
    }

    /** Evenly distributed with the given deviation, so that activations keep their size from layer to layer. */
    private static short bfloat16(SplittableRandom random, double deviation) {
        float value = (float) ((2 * random.nextDouble() - 1) * Math.sqrt(3) * deviation);
        return (short) (Float.floatToRawIntBits(value) >>> 16);
    }

    private static void drain(ByteBuffer window, FileChannel channel) throws IOException {
        window.flip();
        while (window.hasRemaining()) {
            channel.write(window);
        }
        window.clear();
    }

    private static byte[] header(List<Tensor> tensors) {
        String header = JsonWriting.object(out -> {
            long offset = 0;
            for (Tensor tensor : tensors) {
                out.writeObjectFieldStart(tensor.name());
                out.writeStringField("dtype", "BF16");
                out.writeArrayFieldStart("shape");
                out.writeNumber(tensor.rows());
                if (tensor.columns() > 0) {
                    out.writeNumber(tensor.columns());
                }
                out.writeEndArray();
                out.writeArrayFieldStart("data_offsets");
                out.writeNumber(offset);
                offset += 2 * tensor.elements();
                out.writeNumber(offset);
                out.writeEndArray();
                out.writeEndObject();
            }
        });
        return header.getBytes(UTF_8);
    }

    @Override
    public void close() throws IOException {
        try (Stream<Path> files = Files.walk(folder)) {
            for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
                Files.delete(file);
            }
        }
    }
}
