package dev.kv8;

/**
 * The schedule of one step's attention, made once a step and used by every layer with the same heads. It owns its
 * workspace on the device, which grows when a step needs more and is otherwise reused. One thread at a time. {@link KvCache} makes
 * its own; only an engine that calls {@link KvBackend#attend} itself needs one.
 */
public interface AttentionPlan extends AutoCloseable {
    /**
     * Plans a step, in place of the one before; attention that was called with that one still uses that one. The arrays are read
     * before this returns and may be changed then.
     *
     * @param sequences how many
     * @param queryStartLoc int32 {@code [sequences + 1]} in host-accessible memory: the rows of sequence i are {@code
     *     [queryStartLoc[i], queryStartLoc[i + 1])}
     * @param seqLens int32 {@code [sequences]} in host-accessible memory: keys, the step's own tokens included; of
     *     fewer keys than queries the first queries see none
     * @throws IllegalArgumentException when starts descend, a length is negative, or an array is too short
     * @throws IllegalStateException when the plan is closed
     * @throws DeviceException when the device has no memory for a larger workspace
     */
    void update(int sequences, DeviceMemory queryStartLoc, DeviceMemory seqLens);

    /** Frees the workspace, once kernels that use it are done. Closing twice does nothing. */
    @Override
    void close();
}
