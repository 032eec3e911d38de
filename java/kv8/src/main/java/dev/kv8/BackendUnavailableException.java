package dev.kv8;

/** A backend can't work here; the message says what is missing and what brings it. */
public final class BackendUnavailableException extends RuntimeException {
    private static final long serialVersionUID = 1;

    public BackendUnavailableException(String message) {
        super(message);
    }

    public BackendUnavailableException(String message, Throwable cause) {
        super(message, cause);
    }
}
