package dev.kv8.natives;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.kv8.Activation;
import dev.kv8.BackendUnavailableException;
import dev.kv8.DType;
import dev.kv8.DeviceException;
import dev.kv8.DeviceInfo;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.logging.Handler;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Which backend a name opens, and what is said when it can't. */
class ProviderTest {
    @TempDir
    Path directory;

    @Test
    void isFoundByTheServiceLoader() {
        try (KvBackend backend = KvBackend.open("cpu")) {
            assertThat(backend.info().backend()).isEqualTo("cpu");
        }
    }

    @Test
    void describesTheCpu() {
        DeviceInfo info;
        try (KvBackend backend = KvBackend.open("cpu")) {
            info = backend.info();
        }
        assertThat(info.backend()).isEqualTo("cpu");
        assertThat(info.name()).isNotBlank();
        assertThat(info.arch()).isIn("scalar", "avx2", "avx512", "avx512_bf16", "neon", "neon_bf16");
        assertThat(info.memoryBytes()).isGreaterThan(info.freeBytes()).isGreaterThan(1 << 20);
        assertThat(info.storable()).containsExactly(DType.values());
        assertThat(info.threads()).isPositive();
        assertThat(info.hostAccessible()).isTrue();
    }

    @Test
    void listsTheNamesWhenOneIsUnknown() {
        assertThatThrownBy(() -> KvBackend.open("tpu"))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage(
                        "There is no backend \"tpu\"; -Dkv.backend (or KV8_BACKEND) is one of auto, cpu, cuda, rocm.");
    }

    @ParameterizedTest
    @ValueSource(strings = {"cuda", "rocm"})
    void namesTheMissingJar(String name) {
        String classifier = Host.platform() + "-" + name;
        assertThatThrownBy(() -> KvBackend.open(name))
                .isInstanceOf(BackendUnavailableException.class)
                .hasMessageContaining("dev.kv8:kv8-native:" + Artifacts.version() + ":" + classifier)
                .hasMessageContaining("<classifier>" + classifier + "</classifier>")
                .hasMessageContaining("-Dkv.backend=cpu, which works now");
    }

    @Test
    void knowsItsVersion() {
        assertThat(Artifacts.version()).matches("\\d+\\.\\d+\\.\\d+(-SNAPSHOT)?");
    }

    @Test
    void opensAPluginAndCallsItsKernels() throws IOException {
        try (KvBackend backend = testPlugin("works").openUntested(0)) {
            assertThat(backend.info().backend()).isEqualTo("cuda");
            assertThat(backend.info().name()).isEqualTo("test device");
            DeviceMemory memory = backend.allocate(64);
            HeadRows rows = HeadRows.of(memory, DType.FLOAT32, 1, 4);
            backend.fill(memory, 0, 64, (byte) 0);
            backend.rmsNorm(rows, null, memory, DType.FLOAT32, 0, rows, 1);
            assertThat(backend.hostView(memory, 0, 4).getFloat()).isEqualTo(1); // it fills in the call's number
            assertThatThrownBy(() -> backend.gateMul(Activation.SILU, rows, rows, rows, 1))
                    .isInstanceOf(UnsupportedOperationException.class);
        }
    }

    @Test
    void tellsADeviceWhichLibraryMultiplies() throws IOException {
        System.setProperty(BlasLibrary.PROPERTY, " /opt/blas/libcublasLt.so.13 ");
        try (KvBackend backend = testPlugin("blas").openUntested(0)) {
            assertThat(backend.info().driver()).isEqualTo("/opt/blas/libcublasLt.so.13"); // the plug-in's way to say it
        } finally {
            System.clearProperty(BlasLibrary.PROPERTY);
        }
        try (KvBackend backend = testPlugin("no-blas").openUntested(0)) {
            assertThat(backend.info().driver()).isEmpty();
        }
    }

    @Test
    void findsTheMatrixLibraryOfJavaCppsRedistJar() throws IOException {
        Path plugin = PluginJar.write(directory, "with-redist", "cuda", PluginJar.built("kv8_test_plugin"));
        Path redist = PluginJar.writeRedist(directory, "cuda-redist", "libcublasLt.so.13");
        ClassLoader loader = PluginJar.loader(plugin, redist);
        String found = BlasLibrary.path("cuda", loader);
        assertThat(found).isNotNull();
        assertThat(Path.of(found)).hasFileName("libcublasLt.so.13").hasBinaryContent(new byte[] {1, 2, 3});
        try (KvBackend backend = new BackendOpener(loader).library("cuda").openUntested(0)) {
            assertThat(found).startsWith(backend.info().driver()); // which holds 63 bytes
            assertThat(backend.info().driver()).isNotEmpty();
        }
        System.setProperty(BlasLibrary.PROPERTY, "/opt/own.so");
        try {
            assertThat(BlasLibrary.path("cuda", loader)).isEqualTo("/opt/own.so");
        } finally {
            System.clearProperty(BlasLibrary.PROPERTY);
        }
        assertThat(BlasLibrary.path("rocm", loader)).isNull();
    }

    @Test
    void callsAPluginOnTheCallersStream() throws IOException {
        KvBackend backend = testPlugin("streams").openUntested(0);
        KvBackend onStream = backend.onStream(4242);
        DeviceMemory memory = onStream.allocate(64);
        backend.fill(memory, 0, 64, (byte) 0); // one device, so one memory
        assertThatThrownBy(onStream::synchronize)
                .isInstanceOf(DeviceException.class)
                .hasMessageContaining("stream 4242 is stuck");
        backend.synchronize();
        onStream.close();
        onStream.close();
        assertThatThrownBy(onStream::synchronize)
                .isInstanceOf(IllegalStateException.class)
                .hasMessage("This cuda backend on a stream has been closed.");
        assertThat(memory.isClosed()).isFalse();

        KvBackend outlived = backend.onStream(1);
        backend.close();
        assertThat(memory.isClosed()).isTrue();
        assertThatThrownBy(outlived::info)
                .isInstanceOf(IllegalStateException.class)
                .hasMessage("This cuda backend has been closed.");
        outlived.close();
    }

    @Test
    void theCpuHasNoStreamsOfOthers() {
        try (KvBackend cpu = KvBackend.open("cpu")) {
            assertThatThrownBy(() -> cpu.onStream(4242))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("the CPU has no streams of its own");
        }
    }

    @Test
    void refusesADeviceWithoutKernels() throws IOException {
        NativeBackendProvider provider = with("wrong", "cuda", PluginJar.built("kv8_test_plugin"));
        assertThatThrownBy(() -> provider.open("cuda"))
                .isInstanceOf(BackendUnavailableException.class)
                .hasMessage("The cuda backend has no kernels for device 0: the test plug-in has no such kernel");
    }

    @Test
    void opensTheEmulatorOnlyByItsName() {
        assertThat(BackendOpener.NAMES).doesNotContain(Emulator.NAME);
        String directory = System.clearProperty(Emulator.DIRECTORY);
        try {
            assertThatThrownBy(() -> KvBackend.open("emulator"))
                    .isInstanceOf(BackendUnavailableException.class)
                    .hasMessageContaining("The emulator is for tests and in no jar")
                    .hasMessageContaining("-Dkv.backend=cpu works now");
            System.setProperty(Emulator.DIRECTORY, this.directory.toString());
            assertThatThrownBy(() -> KvBackend.open("emulator"))
                    .isInstanceOf(BackendUnavailableException.class)
                    .hasMessageContaining(this.directory + "/libkv8_emulator_sm_90.so does not exist");
        } finally {
            if (directory == null) {
                System.clearProperty(Emulator.DIRECTORY);
            } else {
                System.setProperty(Emulator.DIRECTORY, directory);
            }
        }
    }

    @Test
    void namesTheDevicesWhenThereIsNoSuchOne() throws IOException {
        NativeBackendProvider provider = with("ordinal", "cuda", PluginJar.built("kv8_test_plugin"));
        assertThatThrownBy(() -> withDevice("2", () -> provider.open("cuda")))
                .isInstanceOf(BackendUnavailableException.class)
                .hasMessageStartingWith("The cuda backend has no device 2: it has 2, counted from 0.");
        assertThatThrownBy(() -> withDevice("1", () -> provider.open("cuda")))
                .isInstanceOf(BackendUnavailableException.class)
                .hasMessage("The cuda backend's device 1 cannot be opened:"
                        + " the second device of the test plug-in is broken");
        assertThatThrownBy(() -> withDevice("first", () -> provider.open("cuda")))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageStartingWith("-Dkv.device=first is not the number of a device");
    }

    private static void withDevice(String value, Runnable body) {
        System.setProperty(BackendOpener.DEVICE, value);
        try {
            body.run();
        } finally {
            System.clearProperty(BackendOpener.DEVICE);
        }
    }

    private BackendOpener.Library testPlugin(String jar) throws IOException {
        Path file = PluginJar.write(directory, jar, "cuda", PluginJar.built("kv8_test_plugin"));
        return new BackendOpener(PluginJar.loader(file)).library("cuda");
    }

    @Test
    void refusesAPluginOfAnotherAbi() throws IOException {
        NativeBackendProvider provider = with("abi", "cuda", PluginJar.built("kv8_wrong_abi_plugin"));
        assertThatThrownBy(() -> provider.open("cuda"))
                .isInstanceOf(BackendUnavailableException.class)
                .hasMessageContaining("ABI")
                .hasMessageContaining("libkv8_cuda.so")
                .hasMessageContaining("Use dev.kv8:kv8-native:" + Artifacts.version() + ":linux-x86_64-cuda");
    }

    @Test
    void namesWhatAPluginMissesOnThisMachine() throws IOException {
        NativeBackendProvider noDriver = with("driver", "cuda", PluginJar.built("kv8_no_driver_plugin"));
        assertThatThrownBy(() -> noDriver.open("cuda"))
                .isInstanceOf(BackendUnavailableException.class)
                .hasMessage("The cuda backend finds no driver: libtestdriver.so.1 is not installed"
                        + " -Dkv.backend=cpu works now.");
        NativeBackendProvider noDevice = with("device", "rocm", PluginJar.built("kv8_no_device_plugin"));
        assertThatThrownBy(() -> noDevice.open("rocm"))
                .isInstanceOf(BackendUnavailableException.class)
                .hasMessageStartingWith("The rocm backend finds no device. It needs an AMD GPU")
                .hasMessageContaining("-Dkv.backend=cpu works now");
    }

    @Test
    void refusesADamagedPlugin() throws IOException {
        byte[] noLibrary = "not a library".getBytes(StandardCharsets.UTF_8);
        NativeBackendProvider provider = with("damaged", "rocm", noLibrary);
        assertThatThrownBy(() -> provider.open("rocm"))
                .isInstanceOf(BackendUnavailableException.class)
                .hasMessageContaining("The rocm backend's library cannot be used")
                .hasMessageContaining("libkv8_rocm.so");
    }

    @Test
    void passesOverADeviceWithoutKernels() throws IOException {
        NativeBackendProvider provider = with("incapable", "cuda", PluginJar.built("kv8_test_plugin"));
        try (LogLines log = new LogLines();
                KvBackend backend = provider.open("auto")) {
            assertThat(backend.info().backend()).isEqualTo("cpu");
            assertThat(log.lines).hasSize(1);
            assertThat(log.lines.get(0))
                    .startsWith("kv8 uses the cpu backend: ")
                    .contains("cuda: The cuda backend has no kernels for device 0")
                    .contains("rocm: The rocm backend's jar")
                    .doesNotContain("\n");
        }
    }

    @Test
    void reportsEveryBackendForTheDoctor() throws IOException {
        Path jar = PluginJar.write(directory, "doctor", "rocm", PluginJar.built("kv8_test_plugin"));
        NativeDiagnostics found = NativeDiagnostics.collect(new BackendOpener(PluginJar.loader(jar)));

        assertThat(found.platform()).isEqualTo("linux-x86_64");
        assertThat(found.libc()).matches("glibc \\d+\\.\\d+");
        assertThat(found.library()).startsWith("loaded from /").endsWith("libjnikv8.so");
        assertThat(found.cacheProblem()).isEmpty();
        assertThat(found.backends())
                .extracting(NativeDiagnostics.BackendAttempt::name)
                .startsWith("cuda", "rocm", "cpu");
        assertThat(found.backends().get(0).outcome()).contains("is not on the class path");
        assertThat(found.backends().get(1).outcome()).contains("has no kernels for device 0");
        assertThat(found.backends().get(1).devices())
                .extracting(NativeDiagnostics.DeviceAttempt::outcome)
                .satisfiesExactly(
                        first -> assertThat(first).contains("has no kernels for device 0"),
                        second -> assertThat(second).contains("the second device of the test plug-in is broken"));
        assertThat(found.backends().get(2).works()).isTrue();
        assertThat(found.backends().get(2).device().orElseThrow().arch()).isNotBlank();
        assertThat(found.properties()).containsKey(CacheDirectory.PROPERTY);
    }

    private NativeBackendProvider with(String jar, String backend, byte[] library) throws IOException {
        return new NativeBackendProvider(PluginJar.loader(PluginJar.write(directory, jar, backend, library)));
    }

    /** What is logged at INFO while this is open; System.Logger goes to java.util.logging here. */
    private static final class LogLines extends Handler implements AutoCloseable {
        private final Logger logger = Logger.getLogger("dev.kv8");
        final List<String> lines = new ArrayList<>();

        LogLines() {
            logger.addHandler(this);
        }

        @Override
        public void publish(LogRecord line) {
            lines.add(line.getMessage());
        }

        @Override
        public void flush() {}

        @Override
        public void close() {
            logger.removeHandler(this);
        }
    }
}
