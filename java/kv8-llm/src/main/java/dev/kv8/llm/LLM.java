package dev.kv8.llm;

import dev.kv8.ByteSize;
import dev.kv8.KvBackend;
import dev.kv8.KvCache;
import dev.kv8.KvCacheDType;
import dev.kv8.KvScales;
import dev.kv8.PreemptionPolicy;
import dev.kv8.Tiers;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.ReadWriteLock;
import java.util.concurrent.locks.ReentrantReadWriteLock;
import org.jspecify.annotations.Nullable;

/**
 * A language model with a paged KV cache: text in, text out.
 *
 * <pre>{@code
 * try (LLM llm = LLM.builder().model(Path.of("Llama-3.1-8B-Instruct")).kvCacheDType("fp8").calculateKvScales(true).build()) {
 *     var params = SamplingParams.builder().temperature(0.7).topP(0.8).build();
 *     System.out.println(llm.generate("London is the capital of", params).get(0).text());
 * }
 * }</pre>
 *
 * <p>{@link #submit} is the door behind which an engine works on all requests together, on a thread of its own: it returns at once, and
 * the text comes as it is written. {@link #generate} and {@link #chat} wait for it.
 *
 * <pre>{@code
 * Generation generation = llm.submit(GenerationRequest.of("London is the capital of", params));
 * generation.chunks().subscribe(subscriber);   // text as it is written
 * generation.completions().thenAccept(all -> ...);
 * }</pre>
 *
 * <p>Any thread may call it. The same seed gives the same text, whatever else runs.
 */
public final class LLM implements AutoCloseable {
    /** What {@link #close} closes, the thread first. */
    private final OpenedParts opened;

    private final LoadedModel loaded;
    private final Prompt.Reader prompts;
    private final Intake intake;
    private final EngineCounters counters = new EngineCounters();
    private final Engine engine;
    private final Delivery delivery;
    private final int maxSequences;
    private final AtomicLong ids = new AtomicLong();
    private final SplittableRandom seeds = new SplittableRandom();
    /** Submitting reads, closing writes: what a submission needs is not closed under it. */
    private final ReadWriteLock lifetime = new ReentrantReadWriteLock();

    private boolean closed;
    private volatile GenerationStats lastStats = new GenerationStats(0, 0, 0, 0, 0, 0);

    private LLM(Builder builder, Path folder, OpenedParts opened) {
        this.opened = opened;
        loaded = LoadedModel.load(builder, folder, opened);
        maxSequences = Math.min(builder.maxSequences, builder.maxBatchTokens);
        prompts = new Prompt.Reader(
                loaded.tokenizer(),
                ChatTemplate.load(folder),
                loaded.config(),
                loaded.cache().config(),
                longestSequence());
        intake = new Intake(builder.maxWaiting);
        delivery = opened.keep(new Delivery(), Delivery::close);
        engine = opened.keep(engine(builder), Engine::close);
        if (builder.ownThread) {
            opened.keep(new EngineThread(engine, intake), EngineThread::close);
        } else {
            opened.keep(engine, Engine::cancelAll);
        }
    }

    private Engine engine(Builder builder) {
        Scheduler scheduler = new Scheduler(loaded.cache(), builder.maxBatchTokens, maxSequences, builder.preemption);
        TokenDraw draw = new TokenDraw(
                loaded.backend(),
                new Sampler(loaded.backend(), maxSequences),
                new LogitRow(loaded.config().vocabularySize(), loaded.tokenizer()));
        return new Engine(
                loaded.model(),
                loaded.config(),
                loaded.cache(),
                loaded.rope(),
                scheduler,
                intake,
                draw,
                counters,
                loaded.firstPass());
    }

    public static Builder builder() {
        return new Builder();
    }

    /** Continues each prompt with the default {@link SamplingParams}. */
    public List<Completion> generate(String... prompts) {
        return generate(Arrays.asList(prompts), SamplingParams.builder().build());
    }

    /** Continues one prompt. */
    public List<Completion> generate(String prompt, SamplingParams sampling) {
        return generate(List.of(prompt), sampling);
    }

    /**
     * Continues each prompt, batched together. Waits for all; a thread that is interrupted meanwhile gets what there is, and stays
     * interrupted.
     *
     * @return {@link SamplingParams#n} completions for each prompt, in the order of the prompts
     * @throws IllegalArgumentException when a prompt has no tokens, or more than the model or the cache can hold; none runs then
     * @throws IllegalStateException when this model has been closed, or is draining
     * @throws dev.kv8.DeviceException when a step failed; the other prompts are cancelled then
     */
    public List<Completion> generate(List<String> prompts, SamplingParams sampling) {
        return complete(prompts.stream()
                .map(prompt -> GenerationRequest.of(prompt, sampling))
                .toList());
    }

    /**
     * Answers a conversation, as the model's chat template presents it. Waits as {@link #generate(List, SamplingParams)}.
     *
     * @return {@link SamplingParams#n} answers
     * @throws IllegalArgumentException also when the model has no template, or the template refuses the conversation
     */
    public List<Completion> chat(List<ChatMessage> messages, SamplingParams sampling) {
        return complete(List.of(GenerationRequest.builder()
                .messages(messages)
                .sampling(sampling)
                .build()));
    }

    private List<Completion> complete(List<GenerationRequest> asked) {
        long begin = System.nanoTime();
        EngineStats before = stats();
        long saturatedBefore = loaded.cache().stats().saturatedValues();
        List<Generation> generations = submit(asked, true);
        List<Completion> completions = new ArrayList<>();
        RuntimeException failure = null;
        for (Generation generation : generations) {
            try {
                completions.addAll(join(generation, generations));
            } catch (CompletionException e) {
                if (failure == null) {
                    failure = e.getCause() instanceof RuntimeException cause ? cause : e;
                    generations.forEach(Generation::cancel);
                }
            }
        }
        if (failure != null) {
            throw failure;
        }
        EngineStats after = stats();
        lastStats = new GenerationStats(
                generations.stream().mapToInt(Generation::promptTokens).sum(),
                completions.stream().mapToInt(one -> one.tokenIds().length).sum(),
                (System.nanoTime() - begin) / 1e9,
                Math.toIntExact(after.steps() - before.steps()),
                Math.toIntExact(after.preemptions() - before.preemptions()),
                Math.max(0, loaded.cache().stats().saturatedValues() - saturatedBefore));
        return completions;
    }

    /** Waits for one; an interrupt cancels all. */
    private static List<Completion> join(Generation generation, List<Generation> all) {
        boolean interrupted = false;
        try {
            while (true) {
                try {
                    return generation.completions().get();
                } catch (InterruptedException e) {
                    interrupted = true;
                    all.forEach(Generation::cancel);
                } catch (ExecutionException e) {
                    throw new CompletionException(e.getCause());
                }
            }
        } finally {
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }

    /**
     * Takes a request and returns at once; the engine works on it with all others.
     *
     * @throws IllegalArgumentException when the prompt has no tokens, or more than the model or the cache can hold, the chat template
     *     is missing or refuses the messages, or more samples are asked for than {@link Builder#maxSequences}
     * @throws TooManyRequestsException when {@link Builder#maxWaiting} requests wait already
     * @throws IllegalStateException when this model has been closed, is draining, or its device was lost
     */
    public Generation submit(GenerationRequest request) {
        return submit(List.of(request), false).get(0);
    }

    /** Takes all or none, so that they begin together. */
    private List<Generation> submit(List<GenerationRequest> asked, boolean unlimited) {
        lifetime.readLock().lock();
        try {
            intake.checkOpen();
            List<Request> requests = new ArrayList<>();
            for (GenerationRequest one : asked) {
                requests.add(request(one));
            }
            intake.submit(requests, unlimited);
            return requests.stream().map(request -> request.generation).toList();
        } finally {
            lifetime.readLock().unlock();
        }
    }

    private Request request(GenerationRequest asked) {
        int samples = asked.sampling().n();
        if (samples > maxSequences) {
            throw new IllegalArgumentException("n is " + samples + ", but at most " + maxSequences
                    + " texts are written at once (maxSequences, and not more than maxBatchTokens). Ask for fewer.");
        }
        Prompt prompt = prompts.read(asked);
        Generation generation =
                new Generation(ids.getAndIncrement(), prompt.tokens().length, samples, delivery, intake::cancel);
        return new Request(
                prompt,
                asked,
                asked.sampling().seed().orElseGet(this::nextSeed),
                asked.timeout().map(LLM::deadline).orElse(Request.NO_DEADLINE),
                loaded.config().eosTokenIds(),
                loaded.tokenizer(),
                generation,
                engine::ended);
    }

    private long nextSeed() {
        synchronized (seeds) {
            return seeds.nextLong();
        }
    }

    private static long deadline(Duration timeout) {
        return System.nanoTime() + Math.min(TimeUnit.NANOSECONDS.convert(timeout), Long.MAX_VALUE / 2);
    }

    /** What the engine does and has done; any thread, at any time. */
    public EngineStats stats() {
        return counters.stats(intake.arrivals());
    }

    /**
     * Whether {@link #submit} still takes requests: this model is neither closed nor draining, and its device and its engine have not
     * failed for good. Once false it stays so.
     */
    public boolean isAccepting() {
        return intake.isOpen();
    }

    /**
     * Takes no more requests, and waits until those that it has have ended.
     *
     * @param longest how long to wait
     * @return whether all have ended; what is left runs on, and {@link #close} cancels it
     * @throws InterruptedException when the thread is interrupted; requests are refused all the same from now on
     */
    public boolean drain(Duration longest) throws InterruptedException {
        return intake.drain(longest);
    }

    /** For tests. */
    LlamaModel model() {
        return loaded.model();
    }

    /** For tests that step it themselves. */
    Engine engine() {
        return engine;
    }

    public ModelConfig config() {
        return loaded.config();
    }

    /**
     * Tokens of the longest text, prompt and continuation together: what the model was made for, or less where the whole cache
     * holds less.
     */
    public int longestSequence() {
        return loaded.rope().maxPositions();
    }

    public Tokenizer tokenizer() {
        return loaded.tokenizer();
    }

    /**
     * The cache. Its statistics can be read at any time, all else only while no request runs: one thread at a time drives it, and that
     * is the engine's. Sequences opened on it take blocks away from requests.
     */
    public KvCache cache() {
        return loaded.cache();
    }

    /** What the last {@link #generate} or {@link #chat} did; steps and preemptions of other requests meanwhile are counted too. */
    public GenerationStats lastStats() {
        return lastStats;
    }

    /**
     * Cancels what runs, after the step under way, and frees the model, the cache, and the backend if it was opened here; {@link #drain}
     * before it lets requests end. Closing twice does nothing.
     */
    @Override
    public void close() {
        intake.close();
        lifetime.writeLock().lock();
        try {
            if (closed) {
                return;
            }
            closed = true;
            opened.close();
        } finally {
            lifetime.writeLock().unlock();
        }
    }

    /** Settings of a model; only {@link #model} must be given. */
    public static final class Builder {
        // LoadedModel reads them too.
        @Nullable
        Path model;

        KvCacheDType kDtype = KvCacheDType.AUTO;
        KvCacheDType vDtype = KvCacheDType.AUTO;
        int[] skipLayers = {};
        boolean dynamicKvScales;

        @Nullable
        KvScaleCalculation calculation;

        @Nullable
        KvScales kvScales;

        ByteSize kvCacheMemory = ByteSize.gib(1);
        int blockSize = 16;
        boolean prefixCaching = true;

        @Nullable
        KvBackend backend;

        int maxBatchTokens = 512;
        int maxSequences = 256;
        int maxWaiting = 1024;
        Tiers tiers = Tiers.NONE;
        String modelId = "";
        boolean ownThread = true;
        PreemptionPolicy preemption = PreemptionPolicy.faster();

        private Builder() {}

        /** A Hugging Face folder: config.json, tokenizer.json, safetensors. */
        public Builder model(Path folder) {
            model = folder;
            return this;
        }

        /** What K and V are stored in: auto, fp8, fp8_e4m3, fp8_e5m2, bfloat16, float16, float32. */
        public Builder kvCacheDType(String name) {
            return kvCacheDType(KvCacheDType.parse(name));
        }

        /** What K and V are stored in. */
        public Builder kvCacheDType(KvCacheDType dtype) {
            return kvCacheDType(dtype, dtype);
        }

        /** What K and what V is stored in. */
        public Builder kvCacheDType(KvCacheDType k, KvCacheDType v) {
            kDtype = k;
            vDtype = v;
            return this;
        }

        /** Layers whose K and V stay in the model's own type, besides those that a calibrated checkpoint names. */
        public Builder skipLayers(int... layers) {
            skipLayers = layers.clone();
            return this;
        }

        /** Scales by token and head, found when a token is stored; they take 4 bytes each. */
        public Builder dynamicKvScales(boolean dynamic) {
            dynamicKvScales = dynamic;
            return this;
        }

        /** With true {@link KvScaleCalculation#firstPass()}; only an FP8 cache has scales. */
        public Builder calculateKvScales(boolean calculate) {
            calculation = calculate ? KvScaleCalculation.firstPass() : null;
            return this;
        }

        /** Sets each layer's scales from a forward pass; only an FP8 cache has scales. */
        public Builder calculateKvScales(KvScaleCalculation how) {
            calculation = how;
            return this;
        }

        /** Scales to use instead of the checkpoint's; only an FP8 cache has scales. */
        public Builder kvScales(KvScales scales) {
            kvScales = scales;
            return this;
        }

        /** Memory of the KV cache; 1 GiB by default. */
        public Builder kvCacheMemory(ByteSize size) {
            kvCacheMemory = size;
            return this;
        }

        /** Tokens in a cache block: a multiple of 8 from 8 to 128, 16 by default. */
        public Builder blockSize(int tokens) {
            blockSize = tokens;
            return this;
        }

        /**
         * Whether prompts that begin alike share what is stored for the tokens that they have in common, in whole blocks, also
         * with earlier ones; true by default. It changes no token.
         */
        public Builder prefixCaching(boolean shared) {
            prefixCaching = shared;
            return this;
        }

        /** Runs on this backend, which stays the caller's; by default one is opened and closed with the model. */
        public Builder backend(KvBackend opened) {
            backend = opened;
            return this;
        }

        /** Tokens that one forward pass computes at most; 512 by default. */
        public Builder maxBatchTokens(int tokens) {
            if (tokens < 1) {
                throw new IllegalArgumentException("maxBatchTokens is " + tokens + "; it must be 1 or more.");
            }
            maxBatchTokens = tokens;
            return this;
        }

        /** Texts that are written at once, each sample of a request counted; 256 by default, and never more than {@link #maxBatchTokens}. */
        public Builder maxSequences(int texts) {
            if (texts < 1) {
                throw new IllegalArgumentException("maxSequences is " + texts + "; it must be 1 or more.");
            }
            maxSequences = texts;
            return this;
        }

        /**
         * Requests that may wait until others end; one more is refused with {@link TooManyRequestsException}. 1024 by default.
         * {@link LLM#generate} is not limited, since it waits itself.
         */
        public Builder maxWaiting(int requests) {
            if (requests < 1) {
                throw new IllegalArgumentException("maxWaiting is " + requests + "; it must be 1 or more.");
            }
            maxWaiting = requests;
            return this;
        }

        /**
         * Where prefixes are kept that the cache has no room for, and found again, after a restart too: host memory, files, Valkey or
         * Redis. It changes no token. The stores stay the caller's, who closes them after the model.
         *
         * <p>Prefixes are kept under the digest of config.json and all weights, which takes as long as reading them; {@link #modelId} saves
         * that. Scales that are calculated ({@link #calculateKvScales}) belong to one process: nothing is found again then.
         */
        public Builder tiers(Tiers kept) {
            tiers = kept;
            return this;
        }

        /** A name for exactly these weights, instead of their digest: tiers take prefixes of models with the same name for the same. */
        public Builder modelId(String name) {
            modelId = name;
            return this;
        }

        /** For tests: nothing runs unless {@link LLM#engine} is stepped. */
        Builder withoutThread() {
            ownThread = false;
            return this;
        }

        /**
         * What happens to a running request when the cache has no block left for any; by default what is {@link
         * PreemptionPolicy#faster}, which may take as much host memory as the cache has. It changes no token.
         */
        public Builder preemption(PreemptionPolicy policy) {
            preemption = policy;
            return this;
        }

        /**
         * Loads the model.
         *
         * @throws CheckpointException when the folder can't be used; the message says why
         * @throws IllegalArgumentException when settings contradict each other or the model
         * @throws dev.kv8.BackendUnavailableException when there is no backend
         */
        public LLM build() {
            Path folder = model;
            if (folder == null) {
                throw new IllegalArgumentException("No model was given; call model(folder).");
            }
            if ((calculation != null ? 1 : 0) + (kvScales != null ? 1 : 0) + (dynamicKvScales ? 1 : 0) > 1) {
                throw new IllegalArgumentException(
                        "More than one of kvScales, calculateKvScales and dynamicKvScales was"
                                + " given; scales are either known or calculated or dynamic.");
            }
            OpenedParts opened = new OpenedParts();
            try {
                return new LLM(this, folder, opened);
            } catch (RuntimeException e) {
                opened.close();
                throw e;
            }
        }
    }
}
