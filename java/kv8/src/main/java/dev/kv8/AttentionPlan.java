package dev.kv8;

/**
 * The schedule of one step's attention, made once a step and used by every layer with the same heads. It owns its
 * workspace on the device, which grows when a step needs more and is otherwise reused. One thread at a time.
 */
public interface AttentionPlan extends AutoCloseable {
    /**
     * Plans a step. The arrays are read before this returns and may be changed then.
     *
     * @param sequences how many
     * @param queryStartLoc int32 {@code [sequences + 1]} in host-accessible memory: the rows of sequence i are {@code
     *     [queryStartLoc[i], queryStartLoc[i + 1])}
     * @param seqLens int32 {@code [sequences]} in host-accessible memory: keys, the step's own tokens included; of
     *     fewer keys than queries the first queries see none
     * @throws IllegalArgumentException when starts descend or a length is negative
     */
    void update(int sequences, DeviceMemory queryStartLoc, DeviceMemory seqLens);

    @Override
    void close();
}
