package dev.kv8.llm;

/** A data set or a kept state can't be used, or a model can't be calibrated on it: the message says where, why and what to do. */
public final class CalibrationException extends RuntimeException {
    private static final long serialVersionUID = 1;

    public CalibrationException(String message) {
        super(message);
    }

    public CalibrationException(String message, Throwable cause) {
        super(message, cause);
    }
}
