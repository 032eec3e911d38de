package dev.kv8.llm;

/** A model folder, or a recipe for one, can't be used: the message names the file, what is wrong in it, and what to do. */
public final class CheckpointException extends RuntimeException {
    private static final long serialVersionUID = 1;

    public CheckpointException(String message) {
        super(message);
    }

    public CheckpointException(String message, Throwable cause) {
        super(message, cause);
    }
}
