package dev.kv8.natives;

import static dev.kv8.natives.abi.kv8.KV8_INVALID_ARGUMENT;
import static dev.kv8.natives.abi.kv8.KV8_LIBRARY_MISSING;
import static dev.kv8.natives.abi.kv8.KV8_OK;
import static dev.kv8.natives.abi.kv8.KV8_UNSUPPORTED;

import dev.kv8.BackendUnavailableException;
import dev.kv8.natives.abi.kv8;
import dev.kv8.natives.abi.kv8_backend;
import dev.kv8.natives.abi.kv8_device;
import dev.kv8.natives.abi.kv8_device_options;
import java.lang.ref.Reference;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.bytedeco.javacpp.BytePointer;
import org.jspecify.annotations.Nullable;

/** Opens a device of a backend by name, or says which of jar, driver library, device or architecture is missing. */
final class BackendOpener {
    /** The backends that {@code auto} tries, in this order. */
    static final List<String> NAMES = List.of("cuda", "rocm", "cpu");

    /** Which of a GPU backend's devices is opened; 0 by default. */
    static final String DEVICE = "kv.device";

    private final ClassLoader plugins;

    /** @param plugins where the resources of GPU plug-ins are looked for, and the library that multiplies for them */
    BackendOpener(ClassLoader plugins) {
        this.plugins = plugins;
    }

    /** Opens the device that {@code -Dkv.device} names and accepts it when it computes right. */
    NativeBackend open(String name) {
        Library library = library(name);
        return library.open(library.checkOrdinal(requestedDevice(name)));
    }

    /** Which device of a backend is asked for; the CPU is one. */
    static int requestedDevice(String name) {
        if (name.equals("cpu")) {
            return 0;
        }
        String value = System.getProperty(DEVICE, "0").strip();
        try {
            int ordinal = Integer.parseInt(value);
            if (ordinal >= 0) {
                return ordinal;
            }
        } catch (NumberFormatException e) {
            // The message below says it.
        }
        throw new IllegalArgumentException("-D" + DEVICE + "=" + value
                + " is not the number of a device; give 0 for a backend's first one, 1 for its second.");
    }

    /**
     * A backend's code, loaded: its devices can be counted and opened.
     *
     * @param resources where what it needs beside its code is looked for
     */
    record Library(String name, kv8_backend backend, int devices, ClassLoader resources) {
        int checkOrdinal(int ordinal) {
            if (ordinal >= devices) {
                throw new BackendUnavailableException("The " + name + " backend has no device " + ordinal + ": it has "
                        + devices + ", counted from 0. Set -D" + DEVICE + " to one of them.");
            }
            return ordinal;
        }

        /** Opens a device and accepts it when its self-test passes. */
        NativeBackend open(int ordinal) {
            NativeBackend opened = openUntested(ordinal);
            try {
                SelfTest.run(opened);
                return opened;
            } catch (RuntimeException e) {
                opened.close();
                throw e instanceof BackendUnavailableException ? e : untestable(ordinal, e);
            }
        }

        private BackendUnavailableException untestable(int ordinal, RuntimeException failure) {
            return new BackendUnavailableException(
                    failure instanceof UnsupportedOperationException
                            ? noKernels(ordinal, String.valueOf(failure.getMessage()))
                            : "The " + name + " backend failed its self-test on device " + ordinal + ": "
                                    + failure.getMessage(),
                    failure);
        }

        private String noKernels(int ordinal, String reason) {
            return "The " + name + " backend has no kernels for device " + ordinal + ": " + reason;
        }

        NativeBackend openUntested(int ordinal) {
            kv8_device device = openHandle(ordinal);
            try {
                return new NativeBackend(new OpenDevice(name, device), null);
            } catch (RuntimeException e) {
                kv8.kv8_device_close(device);
                throw new BackendUnavailableException(
                        "The " + name + " backend's device opens but does not answer: " + e.getMessage(), e);
            }
        }

        private kv8_device openHandle(int ordinal) {
            kv8_device_options options = new kv8_device_options(Struct.zeroed(kv8_device_options.class));
            options.struct_size(options.sizeof());
            options.ordinal(ordinal);
            BytePointer isa = null;
            BytePointer blas = null;
            if (name.equals("cpu")) {
                options.threads(CpuOptions.threads());
                isa = text(CpuOptions.isa());
                options.isa(isa);
            } else {
                blas = text(BlasLibrary.path(name, resources));
                options.blas_library(blas);
            }
            kv8_device device = new kv8_device();
            try {
                int status = kv8.kv8_device_open(backend, options, device);
                if (status != KV8_OK) {
                    throw notOpened(ordinal, status, Status.lastError());
                }
                return device;
            } finally {
                Reference.reachabilityFence(isa);
                Reference.reachabilityFence(blas);
            }
        }

        private static @Nullable BytePointer text(@Nullable String option) {
            return option == null || option.isBlank()
                    ? null
                    : new BytePointer(Struct.text(option.strip().getBytes(StandardCharsets.UTF_8)));
        }

        private RuntimeException notOpened(int ordinal, int status, String message) {
            if (name.equals("cpu") && status == KV8_INVALID_ARGUMENT) {
                return new IllegalArgumentException(message); // a wrong -Dkv.cpu option
            }
            return new BackendUnavailableException(
                    status == KV8_UNSUPPORTED
                            ? noKernels(ordinal, message)
                            : "The " + name + " backend's device " + ordinal + " cannot be opened: " + message);
        }
    }

    /** Loads a backend that has a device. */
    Library library(String name) {
        NativeBridge.require();
        kv8_backend backend = switch (name) {
            case "cpu" -> cpu();
            case Emulator.NAME -> Emulator.load();
            default -> Plugin.load(name, plugins);
        };
        int[] count = new int[1];
        int status = kv8.kv8_device_count(backend, count);
        if (status == KV8_LIBRARY_MISSING) {
            throw new BackendUnavailableException(
                    "The " + name + " backend finds no driver: " + Status.lastError() + " " + Plugin.needs(name));
        }
        if (status != KV8_OK) {
            throw new BackendUnavailableException("The " + name + " backend cannot look for devices: "
                    + Status.lastError() + " " + Plugin.needs(name));
        }
        if (count[0] < 1) {
            throw new BackendUnavailableException("The " + name + " backend finds no device. " + Plugin.needs(name));
        }
        return new Library(name, backend, count[0], plugins);
    }

    private static kv8_backend cpu() {
        kv8_backend backend = new kv8_backend();
        Status.check(kv8.kv8_backend_cpu(backend));
        return backend;
    }
}
