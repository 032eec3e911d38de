package dev.kv8.server;

import dev.kv8.llm.Completion;
import dev.kv8.llm.FinishReason;
import dev.kv8.llm.Generation;
import dev.kv8.llm.GenerationRequest;
import dev.kv8.llm.TextChunk;
import dev.kv8.llm.TooManyRequestsException;
import io.vertx.core.Context;
import io.vertx.core.Vertx;
import io.vertx.core.http.HttpServerRequest;
import io.vertx.core.http.HttpServerResponse;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Flow;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * One request for text, from its arrival to the last byte of its answer. Everything runs on the event loop, but reading the body's JSON
 * and making tokens of it. When the client goes away, or the answer fails, the model stops writing.
 */
final class Exchange {
    private static final System.Logger LOG = System.getLogger(LlmServer.class.getName());

    private final Vertx vertx;
    private final Context context;
    private final HttpServerRequest request;
    private final HttpServerResponse response;
    private final ServerConfig config;
    private final ServedModel model;
    private final ServerMetrics metrics;
    private final long begin = System.nanoTime();

    private List<Generation> generations = List.of();
    private @Nullable EventStream events;
    private boolean isOver;
    /** Of a stream: subscriptions that have not ended, and one for the numbers of tokens. */
    private int pending;

    private @Nullable Usage usage;
    private boolean spoke;

    /** What was submitted for a call. */
    private record Submitted(Call call, List<Generation> generations) {}

    Exchange(Vertx vertx, HttpServerRequest request, ServerConfig config, ServedModel model, ServerMetrics metrics) {
        this.vertx = vertx;
        this.context = vertx.getOrCreateContext();
        this.request = request;
        this.response = request.response();
        this.config = config;
        this.model = model;
        this.metrics = metrics;
    }

    /** Begins; {@code ended} is run when the answer has ended, or the client is gone. */
    void run(Endpoint endpoint, Runnable ended) {
        response.exceptionHandler(broken -> stop());
        response.endHandler(end -> ended.run());
        response.closeHandler(closed -> {
            stop();
            ended.run();
        });
        Body.read(vertx, request, config)
                .compose(body -> context.executeBlocking(() -> submit(endpoint.read(JsonFields.parse(body))), false))
                .onSuccess(this::answer)
                .onFailure(this::fail);
    }

    /** From any thread: the server ends before the answer does. */
    void cancelForShutdown() {
        context.runOnContext(now -> fail(ApiError.shuttingDown()));
    }

    private Submitted submit(Call call) {
        List<Generation> begun = new ArrayList<>();
        try {
            for (GenerationRequest each : call.requests()) {
                begun.add(model.llm().submit(each));
            }
            return new Submitted(call, begun);
        } catch (RuntimeException e) {
            begun.forEach(Generation::cancel);
            throw refusal(call, e);
        }
    }

    private RuntimeException refusal(Call call, RuntimeException e) {
        if (e instanceof TooManyRequestsException) {
            return ApiError.tooMany(String.valueOf(e.getMessage()));
        }
        if (e instanceof IllegalArgumentException) {
            return ApiError.invalid(call.promptField(), String.valueOf(e.getMessage()));
        }
        if (e instanceof IllegalStateException && !model.llm().isAccepting()) {
            return ApiError.engineFailed();
        }
        return e;
    }

    private void answer(Submitted submitted) {
        generations = submitted.generations();
        if (isOver) { // the client has left meanwhile
            generations.forEach(Generation::cancel);
            return;
        }
        if (submitted.call().stream()) {
            stream(submitted.call());
        } else {
            whenAllEnd(answers -> {
                isOver = true;
                Replies.json(response, submitted.call().format().whole(answers, Usage.of(answers)));
            });
        }
    }

    private void stream(Call call) {
        EventStream stream = new EventStream(vertx, response);
        events = stream;
        stream.begin();
        call.format().beginning().forEach(stream::event);
        pending = generations.size() + 1;
        for (int i = 0; i < generations.size(); i++) {
            generations.get(i).chunks().subscribe(new Chunks(stream, call, i * call.samples()));
        }
        whenAllEnd(answers -> endPart(stream, call, answers));
    }

    /** Whether by its subscription or by its numbers: a stream ends when both have. */
    private void endPart(EventStream stream, Call call, @Nullable List<List<Completion>> answers) {
        if (answers != null) {
            usage = Usage.of(answers);
        }
        if (--pending > 0 || isOver) {
            return;
        }
        isOver = true;
        if (call.includeUsage() && usage != null) {
            stream.event(call.format().usage(usage));
        }
        stream.event("[DONE]");
        stream.end();
    }

    /** Runs it on the event loop with the choices of each prompt, unless one of them failed. */
    private void whenAllEnd(Consumer<List<List<Completion>>> next) {
        var unused = CompletableFuture.allOf(
                        generations.stream().map(Generation::completions).toArray(CompletableFuture[]::new))
                .whenComplete((all, error) -> context.runOnContext(now -> {
                    if (isOver) {
                        return;
                    }
                    if (error != null) {
                        fail(error);
                        return;
                    }
                    List<List<Completion>> answers = generations.stream()
                            .map(generation -> generation.completions().join())
                            .toList();
                    ApiError unfinished = answers.stream()
                            .flatMap(List::stream)
                            .map(completion -> refusalOf(completion.finishReason()))
                            .filter(found -> found != null)
                            .findFirst()
                            .orElse(null);
                    if (unfinished != null) {
                        fail(unfinished);
                    } else {
                        next.accept(answers);
                    }
                }));
    }

    private @Nullable ApiError refusalOf(FinishReason reason) {
        return switch (reason) {
            case STOP, LENGTH -> null;
            case TIMEOUT ->
                ApiError.timedOut(Math.max(1, config.requestTimeout().toSeconds()));
            case CANCELLED -> ApiError.shuttingDown();
        };
    }

    /** The chunks of one prompt. Asks for the next one when the client has room for it. */
    private final class Chunks implements Flow.Subscriber<TextChunk> {
        private final EventStream stream;
        private final Call call;
        private final int firstChoice;
        private Flow.@Nullable Subscription subscription;

        Chunks(EventStream stream, Call call, int firstChoice) {
            this.stream = stream;
            this.call = call;
            this.firstChoice = firstChoice;
        }

        @Override
        public void onSubscribe(Flow.Subscription given) {
            subscription = given;
            given.request(1);
        }

        @Override
        public void onNext(TextChunk chunk) {
            context.runOnContext(now -> write(chunk));
        }

        private void write(TextChunk chunk) {
            Flow.Subscription source = subscription;
            if (isOver || source == null) {
                return;
            }
            if (!spoke) {
                spoke = true;
                metrics.firstToken(System.nanoTime() - begin);
            }
            FinishReason reason = chunk.finishReason();
            if (reason == null || refusalOf(reason) == null) { // else an error tells it
                stream.event(call.format().chunk(firstChoice + chunk.index(), chunk));
            }
            stream.whenWritable(() -> source.request(1));
        }

        @Override
        public void onError(Throwable error) {
            context.runOnContext(now -> fail(error));
        }

        @Override
        public void onComplete() {
            context.runOnContext(now -> endPart(stream, call, null));
        }
    }

    /** Ends the answer with an error, in whatever way is still possible, and what is being written for it. */
    private void fail(Throwable error) {
        if (isOver) {
            return;
        }
        boolean clientLeft = response.closed();
        stop();
        if (clientLeft) {
            return;
        }
        ApiError told = told(error);
        if (events != null) {
            events.event(told.json());
            events.end();
        } else {
            Replies.error(request, told);
        }
    }

    private static ApiError told(Throwable error) {
        if (error instanceof ApiError known) {
            return known;
        }
        LOG.log(System.Logger.Level.ERROR, "A request failed.", error);
        return ApiError.failed();
    }

    private void stop() {
        if (isOver) {
            return;
        }
        isOver = true;
        if (events != null) {
            events.stop();
        }
        generations.forEach(Generation::cancel);
    }
}
