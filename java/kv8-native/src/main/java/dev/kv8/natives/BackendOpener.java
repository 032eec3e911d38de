package dev.kv8.natives;

import static dev.kv8.natives.abi.kv8.KV8_OK;

import dev.kv8.BackendUnavailableException;
import dev.kv8.natives.abi.kv8;
import dev.kv8.natives.abi.kv8_backend;
import dev.kv8.natives.abi.kv8_device;
import dev.kv8.natives.abi.kv8_device_options;
import java.lang.ref.Reference;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.bytedeco.javacpp.BytePointer;

/** Opens the first device of a backend by name, or says which of jar, driver, library or device is missing. */
final class BackendOpener {
    /** Every backend, in the order in which {@code auto} tries them. */
    static final List<String> NAMES = List.of("cuda", "rocm", "cpu");

    private final ClassLoader plugins;

    /** @param plugins where the resources of GPU plug-ins are looked for */
    BackendOpener(ClassLoader plugins) {
        this.plugins = plugins;
    }

    NativeBackend open(String name) {
        NativeBridge.require();
        kv8_device device = openDevice(name, name.equals("cpu") ? cpu() : plugin(name));
        try {
            return new NativeBackend(name, device);
        } catch (RuntimeException e) {
            kv8.kv8_device_close(device);
            throw new BackendUnavailableException(
                    "The " + name + " backend's device opens but does not answer: " + e.getMessage(), e);
        }
    }

    private static kv8_backend cpu() {
        kv8_backend backend = new kv8_backend();
        Status.check(kv8.kv8_backend_cpu(backend));
        return backend;
    }

    /** A plug-in that has a device. */
    private kv8_backend plugin(String name) {
        kv8_backend backend = Plugin.load(name, plugins);
        int[] count = new int[1];
        if (kv8.kv8_device_count(backend, count) != KV8_OK) {
            throw new BackendUnavailableException("The " + name + " backend cannot look for devices: "
                    + Status.lastError() + " " + Plugin.needs(name));
        }
        if (count[0] < 1) {
            throw new BackendUnavailableException("The " + name + " backend finds no device. " + Plugin.needs(name));
        }
        return backend;
    }

    private static kv8_device openDevice(String name, kv8_backend backend) {
        kv8_device_options options = new kv8_device_options(Struct.zeroed(kv8_device_options.class));
        options.struct_size(options.sizeof());
        BytePointer isa = null;
        if (name.equals("cpu")) {
            options.threads(CpuOptions.threads());
            String wanted = CpuOptions.isa();
            if (wanted != null) {
                isa = new BytePointer(Struct.text(wanted.getBytes(StandardCharsets.UTF_8)));
                options.isa(isa);
            }
        }
        kv8_device device = new kv8_device();
        try {
            int status = kv8.kv8_device_open(backend, options, device);
            if (status != KV8_OK) {
                throw notOpened(name, status, Status.lastError());
            }
            return device;
        } finally {
            Reference.reachabilityFence(isa);
        }
    }

    private static RuntimeException notOpened(String name, int status, String message) {
        return status == kv8.KV8_INVALID_ARGUMENT
                ? new IllegalArgumentException(message)
                : new BackendUnavailableException("The " + name + " backend's device cannot be opened: " + message);
    }
}
