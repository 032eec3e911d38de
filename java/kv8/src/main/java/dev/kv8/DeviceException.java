package dev.kv8;

/** A device failed or ran out of memory; the message carries the backend's own text. */
public final class DeviceException extends RuntimeException {
    private static final long serialVersionUID = 1;

    public DeviceException(String message) {
        super(message);
    }
}
