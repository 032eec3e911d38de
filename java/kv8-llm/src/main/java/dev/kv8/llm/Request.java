package dev.kv8.llm;

import dev.kv8.SequenceOptions;
import java.util.Arrays;
import java.util.List;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/** One prompt on its way to its completions: what was asked for, and its samples. For the engine's thread, but for what is said. */
final class Request {
    /** How many later requests one of the next lower class may be behind and still begin first. */
    static final int LEAD_OF_A_CLASS = 64;

    static final long NO_DEADLINE = Long.MAX_VALUE;

    final Prompt prompt;
    final SamplingParams sampling;
    final SequenceOptions options;
    final Generation generation;
    /** By {@link System#nanoTime}, or {@link #NO_DEADLINE}. */
    final long deadline;

    private final Tokenizer tokenizer;
    private final Consumer<Request> whenEnded;
    private final List<Sample> samples;
    private int unfinished;
    private boolean begun;
    private boolean forked;
    /** Of the first time that its sequence was opened. */
    private int cachedTokens;

    private boolean cutShort;
    private @Nullable Throwable failure;

    Request(
            Prompt prompt,
            GenerationRequest asked,
            long seed,
            long deadline,
            List<Integer> eosTokenIds,
            Tokenizer tokenizer,
            Generation generation,
            Consumer<Request> whenEnded) {
        this.prompt = prompt;
        this.sampling = asked.sampling();
        this.deadline = deadline;
        this.tokenizer = tokenizer;
        this.generation = generation;
        this.whenEnded = whenEnded;
        options = SequenceOptions.builder()
                .priority(asked.priority())
                .salt(asked.cacheSalt())
                .build();
        List<StopStrings.Pattern> stopPatterns = StopStrings.Pattern.all(sampling.stop());
        Sample[] all = new Sample[sampling.n()];
        for (int i = 0; i < all.length; i++) {
            all[i] = new Sample(this, i, Sampler.seedOf(seed, i), eosTokenIds, stopPatterns, tokenizer);
        }
        samples = List.copyOf(Arrays.asList(all));
        unfinished = all.length;
    }

    /** Arrivals in the order of this begin one after the other: a class counts as much as having come some requests earlier. */
    long rank() {
        int classes = switch (options.priority()) {
            case LOW -> -1;
            case NORMAL -> 0;
            case HIGH -> 1;
            case CRITICAL -> 2;
        };
        return generation.id() - (long) LEAD_OF_A_CLASS * classes;
    }

    /** The sample that computes the prompt, and which the others are forked from. */
    Sample lead() {
        return samples.get(0);
    }

    List<Sample> samples() {
        return samples;
    }

    /** Whether a sequence of it was ever opened. */
    boolean hasBegun() {
        return begun;
    }

    void begin() {
        begun = true;
    }

    /** How many texts it will write beside those that run already. */
    int unforked() {
        return forked ? 0 : samples.size() - 1;
    }

    /** Gives each other sample what the lead has computed. */
    void fork() {
        forked = true;
        for (int i = 1; i < samples.size(); i++) {
            samples.get(i).fork(lead());
        }
    }

    void foundCached(int tokens) {
        cachedTokens = tokens;
    }

    int cachedTokens() {
        return cachedTokens;
    }

    /** A sample of it has ended. */
    void sampleEnded() {
        if (--unfinished == 0) {
            whenEnded.accept(this);
        }
    }

    boolean hasEnded() {
        return unfinished == 0;
    }

    /** Ends all of it that has not ended. */
    void finish(FinishReason reason) {
        cutShort = reason == FinishReason.CANCELLED || reason == FinishReason.TIMEOUT;
        for (Sample sample : samples) {
            if (!sample.isFinished()) {
                sample.finish(reason);
            }
        }
    }

    /** Ends all of it without a result, even when what it holds can't be given back, as on a device that is lost. */
    void fail(Throwable reason) {
        failure = reason;
        unfinished = 0;
        for (Sample sample : samples) {
            try {
                sample.discard();
            } catch (RuntimeException e) {
                suppress(e, reason);
            }
        }
        whenEnded.accept(this);
    }

    /** Tells it with the reason that somebody gets, unless it is the same. */
    static void suppress(Throwable later, Throwable reason) {
        if (later != reason) {
            reason.addSuppressed(later);
        }
    }

    boolean hasFailed() {
        return failure != null;
    }

    /** Whether somebody ended it before its time. */
    boolean wasCutShort() {
        return cutShort;
    }

    /** Tells whoever asked; the last thing that happens to it. */
    void deliver() {
        Throwable reason = failure;
        if (reason != null) {
            generation.fail(reason);
            return;
        }
        String text = prompt.text(tokenizer);
        generation.complete(
                samples.stream().map(sample -> sample.completion(text)).toList());
    }
}
