package dev.kv8.llm;

import dev.kv8.Batch;
import dev.kv8.KvBackend;
import dev.kv8.KvCache;
import dev.kv8.StepGraph;
import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Makes the calls of decode steps, in which each text computes one token, by launching them as a graph: the first step of so many
 * texts makes them, the second captures them, and later ones launch what it has captured. A graph that does not fit any more, because
 * memory has grown or scales were set, is captured anew. For one thread.
 */
final class DecodeGraphs implements AutoCloseable {
    /** The system property that switches them off. */
    static final String PROPERTY = "kv.graphs";

    /** Those used last are kept; each costs the device some memory, for the arguments of all kernels. */
    static final int MOST = 32;

    private static final System.Logger LOG = System.getLogger(LLM.class.getName());

    /**
     * What a graph is found by. All else that its calls were given either never changes while the model is open or is memory and views,
     * which the graph itself looks after, see {@link StepGraph#launch}.
     */
    private record Key(KvCache cache, Batch batch, RopeTables rope, int texts) {}

    /** By {@link Key}, the one used last at the end; without a graph after the first step. */
    private final LinkedHashMap<Key, Kept> kept = new LinkedHashMap<>(16, 0.75f, true);

    private boolean failed;
    private long captures;
    private long launches;

    private static final class Kept {
        @Nullable
        StepGraph graph;

        void drop() {
            StepGraph old = graph;
            graph = null;
            if (old != null) {
                old.close();
            }
        }
    }

    private DecodeGraphs() {}

    /**
     * Graphs for a backend, or null where it has none or they are switched off.
     *
     * @throws IllegalArgumentException when the property is neither true nor false
     */
    static @Nullable DecodeGraphs on(KvBackend backend) {
        String value = System.getProperty(PROPERTY, "true").strip();
        if (!value.equals("true") && !value.equals("false")) {
            throw new IllegalArgumentException(
                    "-D" + PROPERTY + "=" + value
                            + " says neither that decode steps are launched as graphs nor that they are not; give true or false.");
        }
        return value.equals("true") && backend.capturesGraphs() ? new DecodeGraphs() : null;
    }

    /**
     * Makes the step's calls.
     *
     * @param calls of the whole step, all on memory that is the same in the next step of as many texts unless it was closed
     */
    void run(KvCache cache, Batch batch, RopeTables rope, Runnable calls) {
        if (failed || batch.tokens() != batch.sequences()) {
            calls.run();
            return;
        }
        Key key = new Key(cache, batch, rope, batch.sequences());
        Kept entry = kept.get(key);
        if (entry == null) {
            calls.run(); // what it is the first to need is chosen and loaded
            kept.put(key, new Kept());
            forgetTheEldest();
            return;
        }
        if (entry.graph != null && !entry.graph.launch()) {
            entry.drop();
        } else if (entry.graph != null) {
            launches++;
            return;
        }
        try {
            entry.graph = cache.capture(batch, calls);
            captures++;
        } catch (RuntimeException e) {
            giveUp(e);
            calls.run();
            return;
        }
        if (!entry.graph.launch()) {
            throw new IllegalStateException("A graph does not fit the step that it was captured from.");
        }
        launches++;
    }

    private void forgetTheEldest() {
        if (kept.size() > MOST) {
            Map.Entry<Key, Kept> eldest = kept.entrySet().iterator().next();
            kept.remove(eldest.getKey());
            eldest.getValue().drop();
        }
    }

    /** Nothing of the step has been done yet, so its calls can be made as ever. */
    private void giveUp(RuntimeException reason) {
        LOG.log(
                System.Logger.Level.WARNING,
                "A decode step can't be captured into a graph; the model goes on without them, which -D" + PROPERTY
                        + "=false does from the beginning.",
                reason);
        failed = true;
        close();
    }

    /** Steps that were captured, first or anew. */
    long captures() {
        return captures;
    }

    /** Steps that were launched as a graph. */
    long launches() {
        return launches;
    }

    /** Frees them all; later steps capture anew. */
    @Override
    public void close() {
        kept.values().forEach(Kept::drop);
        kept.clear();
    }
}
