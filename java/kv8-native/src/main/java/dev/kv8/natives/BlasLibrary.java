package dev.kv8.natives;

import java.net.URL;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Which library multiplies matrices on a device: the one that {@code -Dkv.blas.library} or {@code KV8_BLAS_LIBRARY} names; else
 * for CUDA the one of JavaCPP's {@code redist} jars, where the class path has them; else what the system's loader finds.
 */
final class BlasLibrary {
    /** The path of the library of matrix products. */
    static final String PROPERTY = "kv.blas.library";

    private static final String VARIABLE = "KV8_BLAS_LIBRARY";
    private static final List<String> CUDA_NAMES = List.of("libcublasLt.so.13", "libcublasLt.so.12");

    private BlasLibrary() {}

    /**
     * The path to open; null leaves the choice to the plug-in, which knows the variable and the usual names.
     *
     * @param resources where JavaCPP's jars are looked for; a library found there is extracted to JavaCPP's cache
     */
    static @Nullable String path(String backend, ClassLoader resources) {
        String given = System.getProperty(PROPERTY);
        if (given != null && !given.isBlank()) {
            return given.strip();
        }
        if (!backend.equals("cuda") || System.getenv(VARIABLE) != null) {
            return null;
        }
        for (String name : CUDA_NAMES) {
            URL url = resources.getResource("org/bytedeco/cuda/" + Host.platform() + "/" + name);
            if (url != null) {
                return Plugin.extract(url).getPath();
            }
        }
        return null;
    }
}
