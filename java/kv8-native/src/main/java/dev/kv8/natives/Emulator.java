package dev.kv8.natives;

import dev.kv8.BackendUnavailableException;
import dev.kv8.natives.abi.kv8_backend;
import java.io.File;

/**
 * The GPU kernels and their host code on this machine's processor, for tests: slow, but it checks every access. It is built
 * from a checkout, is in no jar, and opens only when it is named.
 */
final class Emulator {
    static final String NAME = "emulator";

    /** The folder that the emulator's libraries were built in. */
    static final String DIRECTORY = "kv8.emulator.directory";

    /** The architecture to emulate. */
    static final String ARCH = "kv8.emulator";

    private static final String DEFAULT_ARCH = "sm_90";

    private Emulator() {}

    /** Whether it was built, or is asked for, so that its state is worth a line. */
    static boolean isOfInterest() {
        return System.getProperty(DIRECTORY) != null
                || NAME.equals(System.getProperty("kv.backend"))
                || NAME.equals(System.getenv("KV8_BACKEND"));
    }

    static kv8_backend load() {
        String directory = System.getProperty(DIRECTORY);
        if (directory == null) {
            throw new BackendUnavailableException("The emulator is for tests and in no jar. In a checkout"
                    + " `JAVA_OPTS=-Dkv.backend=emulator scripts/kv8 doctor` builds it; elsewhere -D" + DIRECTORY
                    + "=DIR says where it was built. -Dkv.backend=cpu works now.");
        }
        String arch = System.getProperty(ARCH, DEFAULT_ARCH).strip();
        File library = new File(directory, "libkv8_emulator_" + arch + ".so");
        if (!library.isFile()) {
            throw new BackendUnavailableException("There is no emulator of " + arch + ": " + library
                    + " does not exist. Set -D" + ARCH + " to an architecture that is there, or build the emulator with"
                    + " -Dkv8.native.emulator=ON.");
        }
        return Plugin.open(NAME, library);
    }
}
