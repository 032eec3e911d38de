package dev.kv8.natives;

import static dev.kv8.natives.abi.kv8.KV8_ABI_MISMATCH;
import static dev.kv8.natives.abi.kv8.KV8_BUFFER_TOO_SMALL;
import static dev.kv8.natives.abi.kv8.KV8_INVALID_ARGUMENT;
import static dev.kv8.natives.abi.kv8.KV8_LIBRARY_MISSING;
import static dev.kv8.natives.abi.kv8.KV8_OK;
import static dev.kv8.natives.abi.kv8.KV8_UNSUPPORTED;

import dev.kv8.BackendUnavailableException;
import dev.kv8.DeviceException;
import dev.kv8.natives.abi.kv8;
import java.nio.charset.StandardCharsets;
import org.bytedeco.javacpp.BytePointer;

/** Turns a failed {@code kv8_status} into the exception that {@link dev.kv8.KvBackend} promises. */
final class Status {
    private Status() {}

    static void check(int status) {
        if (status != KV8_OK) {
            throw failure(status, lastError());
        }
    }

    static RuntimeException failure(int status, String message) {
        return switch (status) {
            case KV8_INVALID_ARGUMENT, KV8_BUFFER_TOO_SMALL -> new IllegalArgumentException(message);
            case KV8_UNSUPPORTED -> new UnsupportedOperationException(message);
            case KV8_LIBRARY_MISSING, KV8_ABI_MISMATCH -> new BackendUnavailableException(message);
            default -> new DeviceException(message);
        };
    }

    static String lastError() {
        return text(kv8.kv8_last_error());
    }

    static String text(BytePointer terminated) {
        return terminated.getString(StandardCharsets.UTF_8);
    }
}
