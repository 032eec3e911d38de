package dev.kv8.llm;

/** A data set of which single samples are read. */
interface SampleSource extends AutoCloseable {
    int size();

    /** Of the whole data set, in hexadecimal. */
    String sha256();

    /**
     * Reads sample {@code index}, 0 to {@link #size} - 1.
     *
     * @throws CalibrationException naming the place when it is malformed
     */
    CalibrationSample sample(int index);

    /** Where a sample is, for messages: {@code "chats.jsonl, line 12"}. */
    String place(int index);

    @Override
    void close();
}
