package dev.kv8.llm;

import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** The tokens that one step draws: for each sample from the logits of a row of the batch. */
final class TokenDraw implements AutoCloseable {
    private final Sampler sampler;
    private final List<Sample> samples = new ArrayList<>();
    private int[] rows = new int[16];

    /** @param sampler with room for as many rows as texts run at once */
    TokenDraw(Sampler sampler) {
        this.sampler = sampler;
    }

    void clear() {
        samples.clear();
    }

    /** The sample's next token comes from this row. */
    void add(Sample sample, int row) {
        if (rows.length == samples.size()) {
            rows = java.util.Arrays.copyOf(rows, 2 * rows.length);
        }
        rows[samples.size()] = row;
        samples.add(sample);
    }

    int count() {
        return samples.size();
    }

    /** Draws them all from the model's last forward pass, and waits for it. */
    void draw(LlamaModel model) {
        if (samples.isEmpty()) {
            return;
        }
        for (int i = 0; i < samples.size(); i++) {
            Sample sample = samples.get(i);
            sampler.set(i, sample.request.sampling, sample.seed, sample.generated());
        }
        sampler.draw(model.logits(rows, samples.size()), samples.size());
    }

    Sample sample(int i) {
        return samples.get(i);
    }

    int token(int i) {
        return sampler.token(i);
    }

    @Nullable
    TokenLogprobs logprobs(int i) {
        return null;
    }

    @Override
    public void close() {
        sampler.close();
    }
}
