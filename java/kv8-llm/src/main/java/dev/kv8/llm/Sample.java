package dev.kv8.llm;

import dev.kv8.KvCache;
import dev.kv8.ReleaseHint;
import dev.kv8.Sequence;
import dev.kv8.SwappedSequence;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** One text of a {@link Request}: its tokens so far, its sequence in the cache while it has one. */
final class Sample {
    final Request request;
    final int index;
    final long seed;
    private final List<Integer> eosTokenIds;
    private final int promptLength;
    private final TextStream stream;
    private final StopStrings stops;
    private final List<TokenLogprobs> logprobs = new ArrayList<>();
    private int[] tokens;
    private int length;
    private boolean opened;
    /** Characters of the text that were passed on. */
    private int passedOn;

    private @Nullable Sequence sequence;
    private @Nullable SwappedSequence swapped;
    private @Nullable FinishReason finished;

    Sample(
            Request request,
            int index,
            long seed,
            List<Integer> eosTokenIds,
            List<StopStrings.Pattern> stopPatterns,
            Tokenizer tokenizer) {
        this.request = request;
        this.index = index;
        this.seed = seed;
        this.eosTokenIds = eosTokenIds;
        int[] promptTokens = request.prompt.tokens();
        promptLength = promptTokens.length;
        tokens = index == 0 ? Arrays.copyOf(promptTokens, promptLength + 16) : promptTokens;
        length = promptLength;
        stream = tokenizer.stream(promptTokens);
        stops = new StopStrings(stopPatterns);
    }

    /**
     * Whether there are blocks for all its tokens now, beyond those of a prefix that running requests hold, so that two do not
     * starve each other halfway. How far it will grow is not asked: it ends early when it has all of the cache.
     */
    boolean fits(KvCache cache) {
        return cache.canAdmit(request.options, Arrays.copyOf(tokens, length), 0).isNow();
    }

    /**
     * Brings its sequence back, or opens one with all tokens so far, of which the cache may have some; what it had the first time
     * is reported.
     *
     * @return false when it can't be brought back, because not all its blocks are free; it waits on then
     */
    boolean open(KvCache cache) {
        SwappedSequence away = swapped;
        if (away != null) {
            Optional<Sequence> back = cache.swapIn(away);
            if (back.isEmpty()) {
                return false;
            }
            sequence = back.get();
            swapped = null;
            return true;
        }
        boolean first = !request.hasBegun();
        sequence = cache.open(request.options, Arrays.copyOf(tokens, length));
        opened = first;
        request.begin();
        return true;
    }

    /** Begins where the lead is. */
    void fork(Sample lead) {
        sequence = lead.sequence().fork();
    }

    /** See {@link Sequence#catchUp}. */
    boolean catchUp() {
        return sequence().catchUp();
    }

    /** Looks what the cache has had for it, at the last moment before its tokens are computed. */
    void countCached() {
        if (opened) {
            request.foundCached(sequence().cachedTokens());
        }
    }

    /** Moves what it has computed to host memory; {@link #open} brings it back. */
    void swapOut(KvCache cache) {
        opened = false;
        swapped = cache.swapOut(sequence());
        sequence = null;
    }

    /** Gives the blocks back; after the next {@link #open} what is no longer cached is computed again. */
    void release() {
        release(ReleaseHint.KEEP);
    }

    /** Gives the blocks back, and nobody finds again what they hold: a step that failed may have left anything in them. */
    void discard() {
        release(ReleaseHint.DISCARD);
    }

    private void release(ReleaseHint hint) {
        opened = false;
        SwappedSequence away = swapped;
        Sequence held = sequence;
        swapped = null; // what can't be closed now can't be closed later either
        sequence = null;
        if (away != null) {
            away.close();
        }
        if (held != null) {
            held.close(hint);
        }
    }

    Sequence sequence() {
        if (sequence == null) {
            throw new IllegalStateException("This sample has no sequence now.");
        }
        return sequence;
    }

    int promptLength() {
        return promptLength;
    }

    int generated() {
        return length - promptLength;
    }

    /** Lets the request's penalties change the logits of its next token. */
    void change(LogitRow logits) {
        logits.change(request.sampling, tokens, promptLength, length);
    }

    boolean isFinished() {
        return finished != null;
    }

    /** Takes a drawn token, sees whether the text ends, and passes on what it adds. */
    void accept(int token, @Nullable TokenLogprobs probability, int longestSequence) {
        if (tokens.length == length) {
            tokens = Arrays.copyOf(tokens, Math.max(16, 2 * length));
        }
        tokens[length++] = token;
        if (probability != null) {
            logprobs.add(probability);
        }
        stream.add(token);
        if (stops.endsAt(stream.text()) >= 0
                || request.sampling.stopsAt(token)
                || (!request.sampling.ignoreEos() && eosTokenIds.contains(token))) {
            finish(FinishReason.STOP, probability);
        } else if (generated() >= request.sampling.maxTokens() || length >= longestSequence) {
            finish(FinishReason.LENGTH, probability);
        } else {
            sequence().append(token);
            passOn(stops.safeEnd(), probability, null);
        }
    }

    /** Ends it and gives its blocks back. */
    void finish(FinishReason reason) {
        finish(reason, null);
    }

    private void finish(FinishReason reason, @Nullable TokenLogprobs last) {
        finished = reason;
        release();
        if (stops.end() < 0) {
            stream.finish();
            stops.endsAt(stream.text());
        }
        passOn(end(), last, reason);
        request.sampleEnded();
    }

    private void passOn(int to, @Nullable TokenLogprobs probability, @Nullable FinishReason reason) {
        int end = Math.max(passedOn, to);
        request.generation.writer().add(index, stream.text(), passedOn, end, probability, reason);
        passedOn = end;
    }

    private int end() {
        return stops.end() < 0 ? stream.text().length() : stops.end();
    }

    Completion completion(String promptText) {
        if (finished == null) {
            throw new IllegalStateException("This sample has not finished.");
        }
        return new Completion(
                promptText,
                Arrays.copyOf(tokens, promptLength),
                index,
                stream.text().subSequence(0, end()).toString(),
                Arrays.copyOfRange(tokens, promptLength, length),
                request.cachedTokens(),
                logprobs,
                finished);
    }
}
