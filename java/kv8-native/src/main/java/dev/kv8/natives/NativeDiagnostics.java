package dev.kv8.natives;

import dev.kv8.DeviceInfo;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Everything that decides whether native code works here, for a person who asks why: what {@code kv8 doctor} prints.
 *
 * @param version kv8's
 * @param platform in JavaCPP's spelling, for instance linux-x86_64
 * @param libc "glibc 2.36", "musl" or "unknown"
 * @param java the JDK's name and version
 * @param nativeAccess whether the JDK lets kv8 call native methods
 * @param library where the JNI library was loaded from, or why it was not
 * @param cacheDirectory where native libraries are extracted to, or that there is no place for them
 * @param cacheProblem why libraries cannot be used from there; empty when they can
 * @param backends each backend with its outcome, in the order in which {@code auto} tries them
 * @param properties the system properties and environment variables in force
 */
public record NativeDiagnostics(
        String version,
        String platform,
        String libc,
        String java,
        String nativeAccess,
        String library,
        String cacheDirectory,
        Optional<String> cacheProblem,
        List<BackendAttempt> backends,
        Map<String, String> properties) {

    private static final List<String> PROPERTIES = List.of(
            "kv.backend",
            CpuOptions.THREADS,
            CpuOptions.ISA,
            BackendOpener.DEVICE,
            Emulator.ARCH,
            Emulator.DIRECTORY,
            CacheDirectory.PROPERTY,
            "org.bytedeco.javacpp.platform",
            "java.library.path",
            "java.io.tmpdir");
    private static final List<String> VARIABLES = List.of(
            "KV8_BACKEND",
            "KV8_ISA",
            "KV8_CUDA_LIBRARY",
            "KV8_HIP_LIBRARY",
            "CUDA_VISIBLE_DEVICES",
            "HIP_VISIBLE_DEVICES",
            "ROCR_VISIBLE_DEVICES");

    /**
     * One backend.
     *
     * @param name "cuda", "rocm" or "cpu"; "emulator" where one was built or asked for
     * @param outcome "works", or what is missing and what brings it
     * @param devices what became of each device that it has
     * @param device the device that {@code -Dkv.device} asks for, the first by default; empty when the backend does not work
     */
    public record BackendAttempt(
            String name, String outcome, List<DeviceAttempt> devices, Optional<DeviceInfo> device) {
        public BackendAttempt {
            devices = List.copyOf(devices);
        }

        public boolean works() {
            return device.isPresent();
        }
    }

    /**
     * One device of a backend.
     *
     * @param ordinal its number, what {@code -Dkv.device} takes
     * @param outcome "works", or why it does not
     * @param info empty when it does not work
     */
    public record DeviceAttempt(int ordinal, String outcome, Optional<DeviceInfo> info) {}

    public NativeDiagnostics {
        backends = List.copyOf(backends);
        properties = Map.copyOf(properties);
    }

    /** Tries everything: loads the bridge and opens, tests and closes each backend. Throws nothing for what does not work. */
    public static NativeDiagnostics collect() {
        return collect(new BackendOpener(NativeDiagnostics.class.getClassLoader()));
    }

    static NativeDiagnostics collect(BackendOpener opener) {
        Optional<Path> cache = CacheDirectory.path();
        return new NativeDiagnostics(
                Artifacts.version(),
                Host.platform(),
                Host.libc(),
                System.getProperty("java.vm.name") + " " + Runtime.version(),
                Host.nativeAccess(),
                NativeBridge.outcome(),
                cache.map(Path::toString).orElse("none: no candidate can be written to"),
                cache.flatMap(CacheDirectory::problem),
                Stream.concat(
                                BackendOpener.NAMES.stream(),
                                Emulator.isOfInterest() ? Stream.of(Emulator.NAME) : Stream.of())
                        .map(name -> attempt(opener, name))
                        .toList(),
                settings());
    }

    private static BackendAttempt attempt(BackendOpener opener, String name) {
        List<DeviceAttempt> devices = List.of();
        try {
            BackendOpener.Library library = opener.library(name);
            devices = IntStream.range(0, library.devices())
                    .mapToObj(ordinal -> attempt(library, ordinal))
                    .toList();
            int wanted = library.checkOrdinal(BackendOpener.requestedDevice(name));
            return new BackendAttempt(
                    name,
                    devices.get(wanted).outcome(),
                    devices,
                    devices.get(wanted).info());
        } catch (RuntimeException e) {
            return new BackendAttempt(name, String.valueOf(e.getMessage()), devices, Optional.empty());
        }
    }

    private static DeviceAttempt attempt(BackendOpener.Library library, int ordinal) {
        try (NativeBackend backend = library.open(ordinal)) {
            return new DeviceAttempt(ordinal, "works", Optional.of(backend.info()));
        } catch (RuntimeException e) {
            return new DeviceAttempt(ordinal, String.valueOf(e.getMessage()), Optional.empty());
        }
    }

    private static Map<String, String> settings() {
        Map<String, String> settings = new TreeMap<>();
        PROPERTIES.forEach(name -> put(settings, name, System.getProperty(name)));
        VARIABLES.forEach(name -> put(settings, name, System.getenv(name)));
        return settings;
    }

    private static void put(Map<String, String> settings, String name, @Nullable String value) {
        if (value != null) {
            settings.put(name, value);
        }
    }
}
