package dev.kv8.natives;

import dev.kv8.KvBackend;
import dev.kv8.KvBackendProvider;

/**
 * The backends {@code cpu}, {@code cuda} and {@code rocm}, and {@code auto}, which takes the best that works. For tests there is
 * also {@code emulator}, which opens only when it is named.
 */
public final class NativeBackendProvider implements KvBackendProvider {
    private final BackendOpener opener;

    /** For {@link java.util.ServiceLoader}; GPU plug-ins are found by this class's own loader. */
    public NativeBackendProvider() {
        this(NativeBackendProvider.class.getClassLoader());
    }

    NativeBackendProvider(ClassLoader plugins) {
        this.opener = new BackendOpener(plugins);
    }

    @Override
    public KvBackend open(String name) {
        return switch (name) {
            case "auto" -> BackendChoice.first(opener);
            case "cpu", "cuda", "rocm", Emulator.NAME -> opener.open(name);
            default ->
                throw new IllegalArgumentException("There is no backend \"" + name
                        + "\"; -Dkv.backend (or KV8_BACKEND) is one of auto, cpu, cuda, rocm.");
        };
    }
}
