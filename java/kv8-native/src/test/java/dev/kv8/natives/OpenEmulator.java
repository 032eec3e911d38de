package dev.kv8.natives;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.kv8.KvBackend;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.Stream;

/** Emulators of the architectures that the native build made. */
final class OpenEmulator {
    private OpenEmulator() {}

    /** What tells kernels apart: no FP8 converts, OCP ones, FNUZ ones in waves of 64, AMD's two kinds of matrix instructions. */
    static Stream<String> architectures() {
        return Stream.of("sm_80", "sm_90", "gfx942", "gfx1100", "gfx1201");
    }

    static KvBackend of(String arch) {
        String directory = System.getProperty(Emulator.DIRECTORY);
        assumeTrue(
                Files.exists(Path.of(directory, "libkv8_emulator_" + arch + ".so")),
                "no emulator was built (-Dkv8.native.emulator=OFF)");
        System.setProperty(Emulator.ARCH, arch);
        try {
            return KvBackend.open("emulator");
        } finally {
            System.clearProperty(Emulator.ARCH);
        }
    }
}
