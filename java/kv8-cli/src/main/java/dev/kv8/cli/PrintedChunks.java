package dev.kv8.cli;

import dev.kv8.llm.TextChunk;
import java.io.PrintWriter;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.Flow;

/** Prints a text while it is written. */
final class PrintedChunks implements Flow.Subscriber<TextChunk> {
    private final PrintWriter out;
    private final CompletableFuture<Boolean> printed = new CompletableFuture<>();

    PrintedChunks(PrintWriter out) {
        this.out = out;
    }

    @Override
    public void onSubscribe(Flow.Subscription subscription) {
        subscription.request(Long.MAX_VALUE);
    }

    @Override
    public void onNext(TextChunk chunk) {
        out.print(chunk.text());
        out.flush();
    }

    @Override
    public void onError(Throwable error) {
        printed.completeExceptionally(error);
    }

    @Override
    public void onComplete() {
        out.println();
        printed.complete(true);
    }

    /** Waits for the end; throws what ended the text, if something did. */
    void await() {
        try {
            printed.join();
        } catch (CompletionException e) {
            throw e.getCause() instanceof RuntimeException cause ? cause : e;
        }
    }
}
