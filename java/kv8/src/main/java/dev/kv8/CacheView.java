package dev.kv8;

/** One layer of a cache as a backend's kernels see it; made by {@link KvBackend#view}. Immutable; any thread may use it. */
public interface CacheView extends AutoCloseable {
    /** What it was made for. */
    LayerLayout layout();

    @Override
    void close();
}
