package dev.kv8.natives.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.KvBackend;
import java.io.IOException;
import java.lang.reflect.Proxy;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.bytedeco.cuda.cudart.CUstream_st;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.javacpp.Pointer;
import org.junit.jupiter.api.Test;

/** The example of docs/backends.md: it compiles against the preset and runs on the emulator, whose memory is the host's. */
class CudaPresetTest {

    // example:begin
    /** Quantizes floats of the caller's CUDA code, in the order of the caller's stream. */
    static void quantize(KvBackend kv8, CUstream_st stream, FloatPointer x, BytePointer codes, int count, float scale) {
        try (KvBackend onStream = CudaPreset.onStream(kv8, stream)) {
            DeviceMemory source = CudaPreset.memory(x, 4L * count);
            DeviceMemory target = CudaPreset.memory(codes, count);
            onStream.cast(source, DType.FLOAT32, target, DType.E4M3FN, count, scale);
        } // what the caller launches on the stream from here on sees the codes
    }
    // example:end

    /** Stands for a pointer that {@code cudaMalloc} filled in. */
    private static final class Allocated extends FloatPointer {
        Allocated(DeviceMemory memory) {
            super((Pointer) null);
            address = memory.address();
        }
    }

    private static KvBackend emulator() {
        String directory = System.getProperty("kv8.emulator.directory");
        assumeTrue(
                Files.exists(Path.of(directory, "libkv8_emulator_sm_90.so")),
                "no emulator was built (-Dkv8.native.emulator=OFF)");
        return KvBackend.open("emulator");
    }

    @Test
    void theExampleRuns() {
        try (KvBackend kv8 = emulator();
                DeviceMemory floats = kv8.allocate(16);
                DeviceMemory codes = kv8.allocate(4)) {
            ByteBuffer values = ByteBuffer.allocateDirect(16).order(ByteOrder.nativeOrder());
            values.asFloatBuffer().put(new float[] {99, 2, -4, 1000});
            kv8.upload(values, floats, 0);
            kv8.fill(codes, 0, 4, (byte) 0);

            FloatPointer x = new Allocated(floats);
            x.position(1);
            quantize(kv8, new CUstream_st(), x, CudaPreset.pointer(codes), 3, 2);

            ByteBuffer read = ByteBuffer.allocate(4);
            kv8.download(codes, 0, read);
            assertThat(read.array()).containsExactly(0x38, 0xC0, 0x7E, 0);
        }
    }

    /** Stands for a stream that {@code cudaStreamCreate} filled in. */
    private static final class Created extends CUstream_st {
        Created(long address) {
            super((Pointer) null);
            this.address = address;
        }
    }

    @Test
    void aStreamGoesToTheBackendByItsAddress() {
        List<Object> asked = new ArrayList<>();
        KvBackend backend = (KvBackend) Proxy.newProxyInstance(
                getClass().getClassLoader(), new Class<?>[] {KvBackend.class}, (proxy, method, arguments) -> {
                    asked.addAll(List.of(method.getName(), arguments[0]));
                    return proxy;
                });
        assertThat(CudaPreset.onStream(backend, new Created(4242))).isSameAs(backend);
        assertThat(asked).containsExactly("onStream", 4242L);
    }

    @Test
    void memoryGoesToThePresetAndBack() {
        DeviceMemory memory = DeviceMemory.wrap(4096, 64);
        BytePointer pointer = CudaPreset.pointer(memory);
        assertThat(pointer.address()).isEqualTo(4096);
        assertThat(pointer.limit()).isEqualTo(64);
        DeviceMemory back = CudaPreset.memory(pointer.position(16), 48);
        assertThat(back.address()).isEqualTo(4112);
        assertThat(back.bytes()).isEqualTo(48);
        assertThatThrownBy(() -> CudaPreset.memory(new BytePointer(), 1)).isInstanceOf(IllegalArgumentException.class);
    }

    @Test
    void theGuideShowsThisExample() throws IOException {
        String source = Files.readString(Path.of("src/test/java/dev/kv8/natives/cuda/CudaPresetTest.java"));
        String example = source.substring(
                source.indexOf("// example:begin\n") + "// example:begin\n".length(),
                source.indexOf("    // example:end\n"));
        assertThat(Files.readString(Path.of("../../docs/backends.md")))
                .as("docs/backends.md must show this file's example, without its indentation")
                .contains(example.replaceAll("(?m)^    ", ""));
    }
}
