package dev.kv8.tests;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** The emulator that the native build made: GPU kernels and their host code on this machine's processor. */
final class Emulator {
    private static final Path FOLDER = Path.of(System.getProperty("kv8.native.dist"), "test-plugins");

    private Emulator() {}

    /** What a JVM needs to run on it. */
    static List<String> options(String arch) {
        assumeTrue(
                Files.exists(FOLDER.resolve("libkv8_emulator_" + arch + ".so")),
                "no emulator was built (-Dkv8.native.emulator=OFF)");
        return List.of("-Dkv.backend=emulator", "-Dkv8.emulator=" + arch, "-Dkv8.emulator.directory=" + FOLDER);
    }
}
