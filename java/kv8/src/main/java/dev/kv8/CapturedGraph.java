package dev.kv8;

/**
 * Calls of a {@link KvBackend} that were {@linkplain KvBackend#capture captured}, to be made again all at once, as often as wanted. Each
 * launch does what the calls did, with the same memory, shapes and numbers, on what lies in that memory then. Any thread may use it;
 * launches follow one another.
 */
public interface CapturedGraph extends AutoCloseable {
    /**
     * Whether all that the calls were given still exists: false once one of their memories, views or plans has been closed, of which the
     * graph must never be launched again.
     */
    boolean isCurrent();

    /**
     * Puts the calls on the backend's stream and returns, as each of them would. What its kernels find wrong in memory is told as
     * ever, by the next call that waits.
     *
     * @throws IllegalStateException when it is closed or not {@linkplain #isCurrent current}; nothing is launched then
     */
    void launch();

    /** Waits for its launches and frees it. Closing twice, or after the backend, does nothing. */
    @Override
    void close();
}
