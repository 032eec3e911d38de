package dev.kv8.llm;

import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.BitSet;
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
    /** Places in {@link #samples} whose logits are not numbers. */
    private final BitSet undrawable = new BitSet();
    /** For the most rows so far; made when a request first needs it. */
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
        undrawable.clear();
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

    /** Draws them all from the model's last forward pass, and waits for it; those that are {@link #isDrawn} have tokens then. */
    void draw(LlamaModel model) {
        int count = samples.size();
        if (count == 0) {
            backend.synchronize();
            return;
        }
        HeadRows logits = model.logits(rows, count);
        int first = count;
        int end = 0;
        for (int i = 0; i < count; i++) {
            Sample sample = samples.get(i);
            sampler.set(i, sample.request.sampling, sample.seed, sample.generated());
            if (LogitRow.isNeeded(sample.request.sampling)) {
                first = Math.min(first, i);
                end = i + 1;
            }
        }
        if (first < end) {
            pass(logits, first, end);
        }
        try {
            sampler.draw(logits, count);
        } catch (IllegalArgumentException e) {
            if (!coverUndrawable(logits, count)) {
                throw e;
            }
            sampler.draw(logits, count);
        }
    }

    /**
     * The device draws all rows or complains of one; so that only those suffer who have them, rows without a token to draw are
     * remembered, and replaced by ones that the device takes. False when there are none.
     */
    private boolean coverUndrawable(HeadRows logits, int count) {
        int rowBytes = logits.width() * Float.BYTES;
        ByteBuffer bytes = bufferFor(Math.multiplyExact(count, rowBytes));
        backend.download(logits.memory(), logits.offset(), bytes);
        for (int i = 0; i < count; i++) {
            ByteBuffer of = rowOf(bytes, i, rowBytes);
            row.read(of.asFloatBuffer());
            if (!row.isDrawable()) {
                undrawable.set(i);
                row.clear();
                row.write(of.asFloatBuffer());
            }
        }
        if (undrawable.isEmpty()) {
            return false;
        }
        backend.upload(bytes.rewind(), logits.memory(), logits.offset());
        return true;
    }

    private static ByteBuffer rowOf(ByteBuffer rows, int i, int rowBytes) {
        return rows.slice(i * rowBytes, rowBytes).order(ByteOrder.nativeOrder());
    }

    /** Takes rows through Java, those between that need it not as well: one copy each way waits once, however many there are. */
    private void pass(HeadRows logits, int first, int end) {
        int rowBytes = logits.width() * Float.BYTES;
        ByteBuffer bytes = bufferFor(Math.multiplyExact(end - first, rowBytes));
        long offset = logits.offset() + first * logits.tokenStride();
        backend.download(logits.memory(), offset, bytes);
        boolean changed = false;
        for (int i = first; i < end; i++) {
            Sample sample = samples.get(i);
            SamplingParams sampling = sample.request.sampling;
            if (!LogitRow.isNeeded(sampling)) {
                continue;
            }
            ByteBuffer of = rowOf(bytes, i - first, rowBytes);
            row.read(of.asFloatBuffer());
            if (sampling.logprobs().isPresent()) {
                probabilities.put(i, row.probabilities(sampling.logprobs().getAsInt()));
            }
            if (LogitRow.changes(sampling)) {
                sample.change(row);
                row.write(of.asFloatBuffer());
                changed = true;
            }
        }
        if (changed) {
            backend.upload(bytes.rewind(), logits.memory(), offset);
        }
    }

    /** With room for as many bytes, which are its limit. */
    private ByteBuffer bufferFor(int bytes) {
        ByteBuffer room = buffer;
        if (room == null || room.capacity() < bytes) {
            room = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder());
            buffer = room;
        }
        return room.clear().limit(bytes);
    }

    /** False when the sample's logits are not numbers, so that it has no next token. */
    boolean isDrawn(int i) {
        return !undrawable.get(i) && sampler.token(i) >= 0;
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
