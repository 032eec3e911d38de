package dev.kv8.llm;

import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The tokens that one step draws: for each sample from the logits of a row of the batch. The device draws; a row passes through
 * Java first where its request asks for more ({@link LogitRow}).
 */
final class TokenDraw implements AutoCloseable {
    private final KvBackend backend;
    private final Sampler sampler;
    private final LogitRow row;
    private final List<Sample> samples = new ArrayList<>();
    private int[] rows = new int[16];
    /** By place in {@link #samples}, for those that asked for probabilities. */
    private final Map<Integer, Probabilities> probabilities = new HashMap<>();
    /** For one row; made when a request first needs it. */
    private @Nullable ByteBuffer buffer;

    /** @param sampler with room for as many rows as texts run at once */
    TokenDraw(KvBackend backend, Sampler sampler, LogitRow row) {
        this.backend = backend;
        this.sampler = sampler;
        this.row = row;
    }

    void clear() {
        samples.clear();
        probabilities.clear();
    }

    /** The sample's next token comes from this row. */
    void add(Sample sample, int batchRow) {
        if (rows.length == samples.size()) {
            rows = Arrays.copyOf(rows, 2 * rows.length);
        }
        rows[samples.size()] = batchRow;
        samples.add(sample);
    }

    int count() {
        return samples.size();
    }

    Sample sample(int i) {
        return samples.get(i);
    }

    /**
     * Draws them all from the model's last forward pass, and waits for it.
     *
     * @throws IllegalStateException when a row has no token to draw: its logits are not numbers
     */
    void draw(LlamaModel model) {
        int count = samples.size();
        if (count == 0) {
            backend.synchronize();
            return;
        }
        HeadRows logits = model.logits(rows, count);
        for (int i = 0; i < count; i++) {
            Sample sample = samples.get(i);
            SamplingParams sampling = sample.request.sampling;
            sampler.set(i, sampling, sample.seed, sample.generated());
            if (LogitRow.isNeeded(sampling)) {
                pass(logits, i, sample);
            }
        }
        sampler.draw(logits, count);
        for (int i = 0; i < count; i++) {
            if (sampler.token(i) < 0) {
                throw new IllegalStateException(
                        "The logits of a text's next token are not numbers, so none can be drawn.");
            }
        }
    }

    /** Takes a row through Java. */
    private void pass(HeadRows logits, int i, Sample sample) {
        ByteBuffer bytes = buffer;
        if (bytes == null) {
            bytes = ByteBuffer.allocateDirect(logits.width() * Float.BYTES).order(ByteOrder.nativeOrder());
            buffer = bytes;
        }
        long offset = logits.offset() + i * logits.tokenStride();
        SamplingParams sampling = sample.request.sampling;
        backend.download(logits.memory(), offset, bytes);
        row.read(bytes.asFloatBuffer());
        if (sampling.logprobs().isPresent()) {
            probabilities.put(i, row.probabilities(sampling.logprobs().getAsInt()));
        }
        if (LogitRow.changes(sampling)) {
            sample.change(row);
            row.write(bytes.asFloatBuffer());
            backend.upload(bytes, logits.memory(), offset);
        }
    }

    int token(int i) {
        return sampler.token(i);
    }

    /** Null when the sample's request did not ask for it. */
    @Nullable
    TokenLogprobs logprobs(int i) {
        Probabilities asked = probabilities.get(i);
        return asked == null ? null : asked.of(sampler.token(i));
    }

    @Override
    public void close() {
        sampler.close();
    }
}
