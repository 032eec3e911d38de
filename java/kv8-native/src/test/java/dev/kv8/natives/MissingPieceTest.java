package dev.kv8.natives;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * The real GPU plug-ins, each piece that they need taken away in turn: the message names it. Stub drivers stand for the
 * vendors'; they run no kernel, so with everything in place the self-test is what fails. The jar and the ABI: {@link
 * ProviderTest}.
 */
class MissingPieceTest {
    enum Vendor {
        CUDA("cuda", "KV8_CUDA_LIBRARY", "libkv8_cuda_stub.so", "sm_75", "cuInit", "cuMemAlloc_v2"),
        ROCM("rocm", "KV8_HIP_LIBRARY", "libkv8_hip_stub.so", "gfx1030", "hipInit", "hipMalloc");

        final String backend;
        final String library;
        final String stub;
        final String oldArch;
        final String start;
        final String allocate;

        Vendor(String backend, String library, String stub, String oldArch, String start, String allocate) {
            this.backend = backend;
            this.library = library;
            this.stub = stub;
            this.oldArch = oldArch;
            this.start = start;
            this.allocate = allocate;
        }
    }

    private static final Path DIST = Path.of(System.getProperty("kv8.native.dist"));

    @TempDir
    Path directory;

    @ParameterizedTest
    @EnumSource
    void theDriverLibrary(Vendor vendor) throws Exception {
        Path nowhere = directory.resolve("driver.so");
        assertThat(open(vendor, vendor.backend, Map.of(vendor.library, nowhere.toString())))
                .contains("BackendUnavailableException: The " + vendor.backend + " backend finds no driver: ")
                .contains(nowhere.toString())
                .contains("install")
                .endsWith("-Dkv.backend=cpu works now.\n");
    }

    @ParameterizedTest
    @EnumSource
    void theDevice(Vendor vendor) throws Exception {
        assertThat(openOnStub(vendor, vendor.backend, Map.of("KV8_STUB_DEVICES", "0")))
                .contains("BackendUnavailableException: The " + vendor.backend + " backend finds no device.")
                .contains("a container needs");
    }

    @ParameterizedTest
    @EnumSource
    void theDriversWillToStart(Vendor vendor) throws Exception {
        assertThat(openOnStub(vendor, vendor.backend, Map.of("KV8_STUB_FAIL", vendor.start + "=3")))
                .contains("BackendUnavailableException: The " + vendor.backend + " backend cannot look for devices: ")
                .contains(vendor.start);
    }

    @ParameterizedTest
    @EnumSource
    void kernelsForTheArchitecture(Vendor vendor) throws Exception {
        assertThat(openOnStub(vendor, vendor.backend, Map.of("KV8_STUB_ARCH", vendor.oldArch)))
                .contains(
                        "BackendUnavailableException: The " + vendor.backend + " backend has no kernels for device 0: ")
                .contains(vendor.oldArch);
    }

    @ParameterizedTest
    @EnumSource
    void memoryOnTheDevice(Vendor vendor) throws Exception {
        assertThat(openOnStub(vendor, vendor.backend, Map.of("KV8_STUB_FAIL", vendor.allocate + "=2")))
                .contains("BackendUnavailableException: The " + vendor.backend
                        + " backend failed its self-test on device 0")
                .contains(vendor.allocate);
    }

    @ParameterizedTest
    @EnumSource
    void rightResults(Vendor vendor) throws Exception {
        assertThat(openOnStub(vendor, vendor.backend, Map.of()))
                .contains("BackendUnavailableException: The " + vendor.backend
                        + " backend computes wrong numbers in its self-test: float32, head 0, element 0");
    }

    @ParameterizedTest
    @EnumSource
    void autoGoesOnToTheCpuAndSaysWhy(Vendor vendor) throws Exception {
        assertThat(openOnStub(vendor, "auto", Map.of("KV8_STUB_DEVICES", "0")))
                .contains("kv8 uses the cpu backend: ")
                .contains(vendor.backend + ": The " + vendor.backend + " backend finds no device")
                .doesNotContain("Exception");
    }

    private String openOnStub(Vendor vendor, String backend, Map<String, String> environment) throws Exception {
        Map<String, String> all = new HashMap<>(environment);
        all.put(
                vendor.library,
                DIST.resolve("test-plugins").resolve(vendor.stub).toString());
        return open(vendor, backend, all);
    }

    private String open(Vendor vendor, String backend, Map<String, String> environment)
            throws IOException, InterruptedException {
        Path plugin = DIST.resolve("plugins").resolve("libkv8_" + vendor.backend + ".so");
        assumeTrue(Files.exists(plugin), () -> "the " + vendor.backend + " plug-in was not built");
        Path jar = PluginJar.write(directory, vendor.backend, vendor.backend, Files.readAllBytes(plugin));
        return ChildJvm.java(environment)
                .with("-D" + CacheDirectory.PROPERTY + "=" + directory.resolve("cache"))
                .openWith(jar + File.pathSeparator + System.getProperty("java.class.path"), backend);
    }
}
