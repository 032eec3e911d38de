package dev.kv8.llm;

import dev.kv8.KvCache;
import dev.kv8.Sequence;
import dev.kv8.SwappedSequence;
import java.util.Arrays;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** One prompt on its way to a {@link Completion}: its tokens so far, its sequence in the cache while it has one. */
final class Request {
    private final String prompt;
    final SamplingParams sampling;
    final long seed;
    private final List<Integer> eosTokenIds;
    private final int promptLength;
    private final TextStream stream;
    private int[] tokens;
    private int length;
    private int opened;
    /** Of the first time that it was opened. */
    private int cachedTokens;

    private @Nullable Sequence sequence;
    private @Nullable SwappedSequence swapped;
    private @Nullable FinishReason finished;
    private int textEnd = -1;

    Request(
            String prompt,
            int[] promptTokens,
            SamplingParams sampling,
            long seed,
            List<Integer> eosTokenIds,
            Tokenizer tokenizer) {
        this.prompt = prompt;
        this.sampling = sampling;
        this.seed = seed;
        this.eosTokenIds = eosTokenIds;
        promptLength = promptTokens.length;
        tokens = Arrays.copyOf(promptTokens, promptTokens.length + 16);
        length = promptLength;
        stream = tokenizer.stream(promptTokens);
    }

    /**
     * Whether there are blocks for all its tokens now, beyond those of a prefix that running requests hold, so that two do not
     * starve each other halfway. How far it will grow is not asked: it ends early when it has all of the cache.
     */
    boolean fits(KvCache cache) {
        return cache.canAdmit(Arrays.copyOf(tokens, length), 0).isNow();
    }

    /**
     * Brings its sequence back, or opens one with all tokens so far, of which the cache may have some; what it had the first time
     * is reported.
     */
    void open(KvCache cache) {
        SwappedSequence away = swapped;
        if (away != null) {
            Sequence back = cache.swapIn(away)
                    .orElseThrow(() -> new IllegalStateException("The blocks that were there a moment ago are gone."));
            swapped = null;
            sequence = back;
            return;
        }
        sequence = cache.open(Arrays.copyOf(tokens, length));
        opened++;
        countCached();
    }

    /** See {@link Sequence#catchUp}. */
    boolean catchUp() {
        boolean alone = sequence().catchUp();
        countCached();
        return alone;
    }

    private void countCached() {
        if (opened == 1) {
            cachedTokens = sequence().cachedTokens();
        }
    }

    /** Moves what it has computed to host memory; {@link #open} brings it back. */
    void swapOut(KvCache cache) {
        swapped = cache.swapOut(sequence());
        sequence = null;
    }

    /** Gives the blocks back; after the next {@link #open} what is no longer cached is computed again. */
    void release() {
        if (swapped != null) {
            swapped.close();
            swapped = null;
        }
        if (sequence != null) {
            sequence.close();
            sequence = null;
        }
    }

    Sequence sequence() {
        if (sequence == null) {
            throw new IllegalStateException("This request has no sequence now.");
        }
        return sequence;
    }

    int promptLength() {
        return promptLength;
    }

    int generated() {
        return length - promptLength;
    }

    boolean isFinished() {
        return finished != null;
    }

    /** Takes a drawn token and sees whether the text ends. */
    void accept(int token, int longestSequence) {
        if (length == tokens.length) {
            tokens = Arrays.copyOf(tokens, 2 * length);
        }
        tokens[length++] = token;
        int before = stream.text().length();
        stream.add(token);
        if (endsAtStopString(before)
                || sampling.stopTokenIds().contains(token)
                || (!sampling.ignoreEos() && eosTokenIds.contains(token))) {
            finish(FinishReason.STOP);
        } else if (generated() >= sampling.maxTokens() || length >= longestSequence) {
            finish(FinishReason.LENGTH);
        } else {
            sequence().append(token);
        }
    }

    /** Looks where a stop string can have become complete: in the new text and the last characters before it. */
    private boolean endsAtStopString(int before) {
        for (String stop : sampling.stop()) {
            int at = stream.indexOf(stop, Math.max(0, before - stop.length() + 1));
            if (at >= 0 && (textEnd < 0 || at < textEnd)) {
                textEnd = at;
            }
        }
        return textEnd >= 0;
    }

    /** Ends it and gives its blocks back. */
    void finish(FinishReason reason) {
        finished = reason;
        release();
        if (textEnd < 0) {
            int before = stream.text().length();
            stream.finish();
            endsAtStopString(before);
        }
    }

    Completion completion() {
        if (finished == null) {
            throw new IllegalStateException("This request has not finished.");
        }
        String text = stream.text().toString();
        return new Completion(
                prompt,
                Arrays.copyOf(tokens, promptLength),
                textEnd < 0 ? text : text.substring(0, textEnd),
                Arrays.copyOfRange(tokens, promptLength, length),
                cachedTokens,
                finished);
    }
}
