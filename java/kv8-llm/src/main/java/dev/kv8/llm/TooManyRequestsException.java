package dev.kv8.llm;

/** As many requests wait as {@link LLM.Builder#maxWaiting} allows; a server answers 429 or 503 to it, and its client tries later. */
public final class TooManyRequestsException extends RuntimeException {
    private static final long serialVersionUID = 1;

    TooManyRequestsException(String message) {
        super(message);
    }
}
