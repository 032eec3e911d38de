package dev.kv8;

/**
 * Whether a new sequence may begin, as {@link KvCache#canAdmit} found.
 *
 * @param answer now, later or never
 * @param missingBlocks how many more blocks would have to be free (later), or be in the pool (never); 0 for now
 */
public record Admission(Answer answer, int missingBlocks) {
    public enum Answer {
        /** The prompt fits now. */
        NOW,
        /** It fits when other sequences have ended. */
        LATER,
        /** Prompt and new tokens are more than the whole pool. */
        NEVER
    }

    static final Admission NOW = new Admission(Answer.NOW, 0);

    /** Whether the answer is now. */
    public boolean isNow() {
        return answer == Answer.NOW;
    }
}
