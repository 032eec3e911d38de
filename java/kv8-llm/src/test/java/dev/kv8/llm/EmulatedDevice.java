package dev.kv8.llm;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.kv8.KvBackend;
import java.nio.file.Files;
import java.nio.file.Path;

/** Opens the emulator, or skips the test where none was built. */
final class EmulatedDevice {
    private EmulatedDevice() {}

    static KvBackend open(String arch) {
        assumeTrue(
                Files.exists(Path.of(System.getProperty("kv8.emulator.directory"), "libkv8_emulator_" + arch + ".so")),
                "no emulator was built (-Dkv8.native.emulator=OFF)");
        System.setProperty("kv8.emulator", arch);
        try {
            return KvBackend.open("emulator");
        } finally {
            System.clearProperty("kv8.emulator");
        }
    }
}
