package dev.kv8.llm;

import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executor;
import java.util.concurrent.Flow;
import java.util.function.LongConsumer;

/**
 * A request on its way: what {@link LLM#submit} returns. Any thread may use it.
 *
 * <pre>{@code
 * Generation generation = llm.submit(GenerationRequest.of("London is", params));
 * generation.completions().thenAccept(all -> System.out.println(all.get(0).text()));
 * }</pre>
 */
public final class Generation {
    private final long id;
    private final int promptTokens;
    private final CompletableFuture<List<Completion>> completions = new CompletableFuture<>() {
        @Override
        public boolean cancel(boolean mayInterrupt) {
            boolean first = super.cancel(mayInterrupt);
            if (first) {
                Generation.this.cancel();
            }
            return first;
        }
    };
    private final TextChunks chunks;
    private final Executor executor;
    private final LongConsumer cancellation;

    Generation(long id, int promptTokens, int samples, Executor executor, LongConsumer cancellation) {
        this.id = id;
        this.promptTokens = promptTokens;
        this.executor = executor;
        this.cancellation = cancellation;
        chunks = new TextChunks(samples, executor);
    }

    /** Unique within its {@link LLM}; a later submission has a larger one. */
    public long id() {
        return id;
    }

    /** Tokens of the prompt, special ones included. */
    public int promptTokens() {
        return promptTokens;
    }

    /**
     * All texts of the request, by index, once the last one has ended. A request that was cancelled or whose time was over ends with
     * the texts as far as they came; it ends exceptionally only when its step failed: with the {@link dev.kv8.DeviceException}, say.
     * Cancelling the future cancels the request. What depends on it runs on threads of the model's own and does not hold up the
     * engine.
     */
    public CompletableFuture<List<Completion>> completions() {
        return completions;
    }

    /**
     * The texts while they are written, for one subscriber, which may come late and then gets all from the beginning. It is called on a
     * thread of the model's own, one call at a time; the engine never waits for it: what was not requested yet is joined into
     * the next chunk. Ends with onComplete when all texts have ended, cancelled ones too, and with onError when a step failed.
     *
     * <p>Cancelling the subscription ends the chunks; only {@link #cancel} ends the request.
     */
    public Flow.Publisher<TextChunk> chunks() {
        return chunks;
    }

    /** Ends the request before its next step; see {@link FinishReason#CANCELLED}. When it has ended already, this does nothing. */
    public void cancel() {
        cancellation.accept(id);
    }

    TextChunks writer() {
        return chunks;
    }

    void complete(List<Completion> all) {
        chunks.end(null);
        executor.execute(() -> completions.complete(all));
    }

    void fail(Throwable error) {
        chunks.end(error);
        executor.execute(() -> completions.completeExceptionally(error));
    }
}
