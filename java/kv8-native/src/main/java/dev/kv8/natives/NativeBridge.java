package dev.kv8.natives;

import dev.kv8.BackendUnavailableException;
import dev.kv8.natives.abi.kv8;
import java.net.URL;
import org.bytedeco.javacpp.Loader;
import org.jspecify.annotations.Nullable;

/**
 * libjnikv8, loaded once. Everything native in this package comes after {@link #require}: whoever touched one of JavaCPP's
 * pointer classes first would get an error that hides the cause, and only the first time.
 */
final class NativeBridge {
    private static final class Once {
        static final NativeBridge BRIDGE = load();
    }

    private final @Nullable String library;
    private final @Nullable BackendUnavailableException failure;

    private NativeBridge(@Nullable String library, @Nullable BackendUnavailableException failure) {
        this.library = library;
        this.failure = failure;
    }

    /** Loads the bridge, or throws what went wrong when it was tried. */
    static void require() {
        BackendUnavailableException failure = Once.BRIDGE.failure;
        if (failure != null) {
            throw new BackendUnavailableException(String.valueOf(failure.getMessage()), failure);
        }
    }

    /** The loaded file's path, or why there is none. */
    static String outcome() {
        NativeBridge bridge = Once.BRIDGE;
        BackendUnavailableException failure = bridge.failure;
        return failure == null ? "loaded from " + bridge.library : String.valueOf(failure.getMessage());
    }

    private static NativeBridge load() {
        if (!isJavaCppThere()) {
            return new NativeBridge(null, new BackendUnavailableException(LoadFailure.noJavaCpp()));
        }
        if (Host.isMusl()) {
            // The library would be refused with a list of missing symbols, or crash.
            return new NativeBridge(null, new BackendUnavailableException(LoadFailure.musl()));
        }
        URL resource = kv8.class.getResource(Host.platform() + "/libjnikv8.so");
        try {
            String library = Loader.load(kv8.class);
            int abi = kv8.kv8_abi_version();
            if (abi != kv8.KV8_ABI_VERSION) {
                return new NativeBridge(null, mismatch(abi, resource));
            }
            return new NativeBridge(library, null);
        } catch (LinkageError | RuntimeException e) {
            return new NativeBridge(null, LoadFailure.explain(e, LoadFailure.Facts.gather(resource != null)));
        }
    }

    private static boolean isJavaCppThere() {
        try {
            Class.forName("org.bytedeco.javacpp.Loader", false, NativeBridge.class.getClassLoader());
            return true;
        } catch (ClassNotFoundException e) {
            return false;
        }
    }

    private static BackendUnavailableException mismatch(int abi, @Nullable URL resource) {
        return new BackendUnavailableException("The native library " + resource + " has ABI " + abi
                + ", the classes of "
                + kv8.class.getResource("kv8.class") + " need ABI " + kv8.KV8_ABI_VERSION
                + ". Use one version of kv8-native and its classifier jars; this one is " + Artifacts.version() + ".");
    }
}
