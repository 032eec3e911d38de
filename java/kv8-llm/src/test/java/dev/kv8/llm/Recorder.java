package dev.kv8.llm;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Flow;
import org.jspecify.annotations.Nullable;

/** A subscriber that keeps what it gets, and asks for a number of chunks at a time. */
final class Recorder implements Flow.Subscriber<TextChunk> {
    private final long atOnce;
    private final List<TextChunk> chunks = new ArrayList<>();
    private final CompletableFuture<List<TextChunk>> all = new CompletableFuture<>();
    private Flow.@Nullable Subscription subscription;

    Recorder(long atOnce) {
        this.atOnce = atOnce;
    }

    @Override
    public synchronized void onSubscribe(Flow.Subscription given) {
        subscription = given;
        if (atOnce > 0) {
            given.request(atOnce);
        }
    }

    synchronized void request(long count) {
        subscription().request(count);
    }

    synchronized void cancel() {
        subscription().cancel();
    }

    private Flow.Subscription subscription() {
        if (subscription == null) {
            throw new IllegalStateException("onSubscribe has not been called.");
        }
        return subscription;
    }

    @Override
    public synchronized void onNext(TextChunk chunk) {
        chunks.add(chunk);
        if (atOnce > 0 && chunks.size() % atOnce == 0) {
            subscription().request(atOnce);
        }
    }

    @Override
    public void onError(Throwable error) {
        all.completeExceptionally(error);
    }

    @Override
    public void onComplete() {
        all.complete(soFar());
    }

    synchronized List<TextChunk> soFar() {
        return List.copyOf(chunks);
    }

    /** Waits for the end. */
    List<TextChunk> all() {
        return all.join();
    }

    static String text(List<TextChunk> chunks, int index) {
        StringBuilder text = new StringBuilder();
        chunks.stream().filter(chunk -> chunk.index() == index).forEach(chunk -> text.append(chunk.text()));
        return text.toString();
    }
}
