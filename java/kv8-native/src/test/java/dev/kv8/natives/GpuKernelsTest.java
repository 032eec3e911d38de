package dev.kv8.natives;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.kv8.Activation;
import dev.kv8.AmaxGranularity;
import dev.kv8.AttentionOptions;
import dev.kv8.AttentionPlan;
import dev.kv8.ChannelScales;
import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import dev.kv8.RopeTable;
import java.util.Random;
import java.util.function.BiFunction;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedClass;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Every call of {@link KvBackend} on the emulator, which runs the GPU kernels and their host code, compared with the CPU: bit
 * for bit where the numerics promise it, within the documented error where sums have another order.
 */
@ParameterizedClass
@MethodSource("dev.kv8.natives.OpenEmulator#architectures")
class GpuKernelsTest {
    private static final int HEADS = 2;
    private static final int SIZE = 64;
    private static final int TOKENS = 9;
    private static final int BLOCK_SIZE = 8;
    private static final int BLOCKS = 5;
    private static final long[] SLOTS = {17, 3, -1, 23, 8, 0, 39, 24, 31};

    private final String arch;
    private final KvBackend gpu;
    private final KvBackend cpu;

    GpuKernelsTest(String arch) {
        this.arch = arch;
        gpu = OpenEmulator.of(arch);
        cpu = KvBackend.open("cpu");
    }

    @AfterEach
    void closeBoth() {
        gpu.close();
        cpu.close();
    }

    private static float[] numbers(int seed, int count) {
        return Numbers.gaussian(new Random(seed), count);
    }

    private void sameBytes(BiFunction<KvBackend, Device, byte[]> call) {
        assertThat(call.apply(gpu, new Device(gpu))).isEqualTo(call.apply(cpu, new Device(cpu)));
    }

    private void nearly(double tolerance, BiFunction<KvBackend, Device, float[]> call) {
        float[] expected = call.apply(cpu, new Device(cpu));
        float[] got = call.apply(gpu, new Device(gpu));
        assertThat(got).hasSameSizeAs(expected);
        for (int i = 0; i < got.length; i++) {
            assertThat(got[i]).as("element %d", i).isCloseTo(expected[i], within((float) tolerance));
        }
    }

    @Test
    void saysWhatItIs() {
        assertThat(gpu.info().backend()).isEqualTo("emulator");
        assertThat(gpu.info().arch()).isEqualTo(arch);
        assertThat(gpu.info().threads()).isZero();
        assertThat(gpu.info().storable()).containsExactly(DType.values());
    }

    @ParameterizedTest
    @EnumSource(names = {"E4M3FN", "E5M2", "E4M3FNUZ", "E5M2FNUZ"})
    void castsBitForBit(DType format) {
        float[] values = Numbers.anyFloat(new Random(7), 5_001);
        System.arraycopy(numbers(8, 2_500), 0, values, 0, 2_500);
        sameBytes((backend, device) -> {
            DeviceMemory codes = device.poisoned(values.length);
            backend.cast(device.floats(values), DType.FLOAT32, codes, format, values.length, 0.37f);
            return device.readBytes(codes, values.length);
        });
        byte[] codes = new byte[256];
        for (int i = 0; i < codes.length; i++) {
            codes[i] = (byte) i;
        }
        for (DType target : new DType[] {DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16}) {
            sameBytes((backend, device) -> {
                DeviceMemory out = device.poisoned(256L * target.bytes());
                backend.cast(device.bytes(codes), format, out, target, 256, 0.37f);
                return device.readBytes(out, 256 * target.bytes());
            });
        }
    }

    @ParameterizedTest
    @EnumSource
    void findsTheSameMaxima(AmaxGranularity granularity) {
        float[] x = numbers(11, TOKENS * HEADS * SIZE);
        int count = switch (granularity) {
            case TENSOR -> 1;
            case HEAD -> HEADS;
            case CHANNEL -> HEADS * SIZE;
            case ROW -> TOKENS * HEADS;
        };
        sameBytes((backend, device) -> {
            DeviceMemory out = device.floats(new float[count]);
            backend.amax(device.rows(x, HEADS, SIZE), TOKENS, granularity, out, false);
            backend.amax(device.rows(x, HEADS, SIZE), 1, granularity, out, granularity != AmaxGranularity.ROW);
            return device.readBytes(out, 4 * count);
        });
    }

    @ParameterizedTest
    @EnumSource(names = {"E4M3FN", "E5M2", "E4M3FNUZ", "E5M2FNUZ", "BFLOAT16"})
    void writesGathersAndMovesBitForBit(DType type) {
        for (boolean dynamic : new boolean[] {false, true}) {
            if (dynamic && !type.isFp8()) {
                continue;
            }
            sameBytes((backend, device) -> {
                CacheLayer layer = written(backend, device, type, dynamic);
                backend.moveBlocks(layer.view(), layer.view(), 2, device.ints(0, 1, 2, 4));
                return device.readBytes(layer.pool(), (int) layer.pool().bytes());
            });
            sameBytes((backend, device) -> {
                CacheLayer layer = written(backend, device, type, dynamic);
                CacheLayer plain = CacheLayer.plain(backend, DType.FLOAT32, BLOCKS, BLOCK_SIZE, HEADS, SIZE);
                backend.fill(layer.pool(), 0, layer.layout().blockStride(), (byte) 1);
                backend.moveBlocks(layer.view(), plain.view(), 1, device.ints(0, 3));
                return device.readBytes(plain.pool(), (int) plain.pool().bytes());
            });
            sameBytes((backend, device) -> {
                CacheLayer layer = written(backend, device, type, dynamic);
                HeadRows k = HeadRows.of(device.poisoned(2L * TOKENS * HEADS * SIZE), DType.BFLOAT16, HEADS, SIZE);
                HeadRows v = HeadRows.of(device.poisoned(2L * TOKENS * HEADS * SIZE), DType.BFLOAT16, HEADS, SIZE);
                backend.gather(layer.view(), k, v, TOKENS, device.longs(SLOTS));
                backend.copy(v.memory(), 0, k.memory(), 0, 2L * SIZE);
                return device.readBytes(k.memory(), 2 * TOKENS * HEADS * SIZE);
            });
        }
    }

    private static CacheLayer written(KvBackend backend, Device device, DType type, boolean dynamic) {
        float[] channels = new float[HEADS * SIZE];
        for (int i = 0; i < channels.length; i++) {
            channels[i] = 0.01f + 0.0001f * i;
        }
        ChannelScales scales = type.isFp8() ? new ChannelScales(device.floats(channels), SIZE, 1) : null;
        CacheLayer layer = CacheLayer.of(backend, type, type, BLOCKS, BLOCK_SIZE, HEADS, SIZE, dynamic, scales, scales);
        RopeTable rope = new RopeTable(device.floats(new RopeAngles(40, 32).table()), 32, RopeTable.Style.HALF);
        backend.write(
                layer.view(),
                device.rows(numbers(21, TOKENS * HEADS * SIZE), HEADS, SIZE),
                device.rows(numbers(22, TOKENS * HEADS * SIZE), HEADS, SIZE),
                TOKENS,
                device.longs(SLOTS),
                rope,
                device.ints(4, 0, 1, 39, 2, 7, 8, 9, 10),
                null);
        return layer;
    }

    /** A decode step and a chunk of a prefill in one batch; queries of each type, which GPUs compute in different kernels. */
    @ParameterizedTest
    @EnumSource(names = {"FLOAT32", "FLOAT16", "BFLOAT16"})
    void attendsWithinTheDocumentedError(DType type) {
        int queryHeads = 3 * HEADS;
        int rows = 1 + 5;
        int elements = rows * queryHeads * SIZE;
        double tolerance = switch (type) {
            case FLOAT32 -> 2e-5;
            case FLOAT16 -> 4e-3;
            default -> 2e-2; // half an ulp of bfloat16 beside values of up to 4
        };
        for (boolean everything : new boolean[] {false, true}) {
            nearly(tolerance, (backend, device) -> {
                CacheLayer layer = fullLayer(backend, device);
                AttentionOptions options = everything
                        ? new AttentionOptions(
                                0.125f,
                                9,
                                3,
                                device.floats(numbers(31, queryHeads)),
                                device.floats(0.5f, 0.25f, 0.1f, 0.3f, 0.7f, 0.01f))
                        : AttentionOptions.causal(SIZE);
                DeviceMemory q = device.poisoned((long) elements * type.bytes());
                DeviceMemory out = device.poisoned((long) elements * type.bytes());
                DeviceMemory lse = device.poisoned(4L * rows * queryHeads);
                DeviceMemory result = device.poisoned(4L * elements + lse.bytes());
                backend.cast(device.floats(numbers(32, elements)), DType.FLOAT32, q, type, elements, 1);
                try (AttentionPlan plan = backend.attentionPlan(queryHeads, HEADS, SIZE);
                        DeviceMemory starts = host(backend, 0, 1, 6);
                        DeviceMemory lengths = host(backend, 21, 13)) {
                    plan.update(2, starts, lengths);
                    DeviceMemory tables = device.ints(4, 1, 3, 0, 2, 1 << 30); // no key occupies the last block
                    HeadRows queries = HeadRows.of(q, type, queryHeads, SIZE);
                    HeadRows result16 = HeadRows.of(out, type, queryHeads, SIZE);
                    backend.attend(layer.view(), plan, tables, 3, queries, result16, lse, options);
                }
                backend.cast(out, type, result, DType.FLOAT32, elements, 1);
                backend.copy(lse, 0, result, 4L * elements, lse.bytes());
                return device.readFloats(result, elements + rows * queryHeads);
            });
        }
    }

    private static DeviceMemory host(KvBackend backend, int... values) {
        DeviceMemory memory = backend.allocateHost(4L * values.length);
        backend.hostView(memory, 0, 4 * values.length).asIntBuffer().put(values);
        return memory;
    }

    private static CacheLayer fullLayer(KvBackend backend, Device device) {
        ChannelScales scales = new ChannelScales(device.floats(0.01f), 0, 0);
        CacheLayer layer = CacheLayer.of(
                backend, DType.E4M3FN, DType.E4M3FN, BLOCKS, BLOCK_SIZE, HEADS, SIZE, false, scales, scales);
        int tokens = BLOCKS * BLOCK_SIZE;
        long[] slots = new long[tokens];
        for (int i = 0; i < tokens; i++) {
            slots[i] = i;
        }
        backend.write(
                layer.view(),
                device.rows(numbers(41, tokens * HEADS * SIZE), HEADS, SIZE),
                device.rows(numbers(42, tokens * HEADS * SIZE), HEADS, SIZE),
                tokens,
                device.longs(slots),
                null,
                null,
                null);
        return layer;
    }

    @Test
    void mergesStates() {
        float[] lse = numbers(53, TOKENS * HEADS);
        lse[3] = Float.NEGATIVE_INFINITY;
        nearly(1e-5, (backend, device) -> {
            HeadRows out = device.rows(new float[TOKENS * HEADS * SIZE], HEADS, SIZE);
            backend.mergeStates(
                    device.rows(numbers(51, TOKENS * HEADS * SIZE), HEADS, SIZE),
                    device.floats(lse),
                    device.rows(numbers(52, TOKENS * HEADS * SIZE), HEADS, SIZE),
                    device.floats(numbers(54, TOKENS * HEADS)),
                    out,
                    null,
                    TOKENS);
            return device.readFloats(out.memory(), TOKENS * HEADS * SIZE);
        });
    }

    @Test
    void normalizes() {
        int width = 96;
        nearly(1e-5, (backend, device) -> {
            HeadRows x = device.rows(numbers(61, TOKENS * width), 1, width);
            HeadRows residual = device.rows(numbers(62, TOKENS * width), 1, width);
            backend.rmsNorm(x, residual, device.floats(numbers(63, width)), DType.FLOAT32, 1e-5f, x, TOKENS);
            return device.readFloats(x.memory(), TOKENS * width);
        });
    }

    @Test
    void rotatesBitForBit() {
        sameBytes((backend, device) -> {
            HeadRows x = device.rows(numbers(71, TOKENS * HEADS * SIZE), HEADS, SIZE);
            RopeTable table =
                    new RopeTable(device.floats(new RopeAngles(12, SIZE).table()), SIZE, RopeTable.Style.INTERLEAVED);
            backend.rope(x, table, device.ints(0, 1, 2, 3, 4, 5, 6, 7, 11), TOKENS);
            return device.readBytes(x.memory(), 4 * TOKENS * HEADS * SIZE);
        });
    }

    @ParameterizedTest
    @EnumSource
    void activates(Activation activation) {
        int width = 96;
        nearly(1e-5, (backend, device) -> {
            HeadRows gate = device.rows(numbers(81, TOKENS * width), 1, width);
            HeadRows up = device.rows(numbers(82, TOKENS * width), 1, width);
            backend.gateMul(activation, gate, up, gate, TOKENS);
            backend.softcap(gate, TOKENS, 3);
            return device.readFloats(gate.memory(), TOKENS * width);
        });
    }

    @Test
    void looksTokensUpAndDrawsThem() {
        int vocabulary = 300;
        sameBytes((backend, device) -> {
            HeadRows rows = device.rows(new float[4 * vocabulary], 1, vocabulary);
            backend.embedding(
                    device.floats(numbers(91, 10 * vocabulary)),
                    DType.FLOAT32,
                    10,
                    device.ints(3, 9, 0, 3),
                    rows,
                    4,
                    1.5f);
            float greedy = 0;
            DeviceMemory sampling = device.floats(
                    greedy,
                    1,
                    Float.intBitsToFloat(0),
                    0,
                    0.8f,
                    0.9f,
                    Float.intBitsToFloat(0),
                    0.3f,
                    1.3f,
                    1,
                    Float.intBitsToFloat(20),
                    0.99f,
                    1,
                    0.5f,
                    Float.intBitsToFloat(1),
                    0.7f);
            DeviceMemory ids = device.ints(-1, -1, -1, -1);
            backend.sample(rows, sampling, ids, 4);
            return device.readBytes(ids, 16);
        });
    }

    @Test
    void saysOfABadSlotWhatTheCpuSaysAndGoesOn() {
        for (KvBackend backend : new KvBackend[] {cpu, gpu}) {
            assertThat(refusal(backend))
                    .startsWith("slots[0] is 1000; ")
                    .endsWith("slots 0 to 39, and -1 skips a token.");
        }
        gpu.synchronize();
        CacheLayer layer = written(gpu, new Device(gpu), DType.E4M3FN, false);
        assertThat(layer.pool().isClosed()).isFalse();
    }

    /** A slot beyond the cache is seen at once on the CPU, on a GPU by the next call that waits. */
    private static String refusal(KvBackend backend) {
        Device device = new Device(backend);
        CacheLayer layer = CacheLayer.plain(backend, DType.FLOAT32, BLOCKS, BLOCK_SIZE, HEADS, SIZE);
        HeadRows rows = device.rows(new float[HEADS * SIZE], HEADS, SIZE);
        DeviceMemory slots = device.longs(1000);
        String[] message = new String[1];
        assertThatThrownBy(() -> {
                    backend.write(layer.view(), rows, rows, 1, slots, null, null, null);
                    backend.synchronize();
                })
                .isInstanceOf(IllegalArgumentException.class)
                .satisfies(e -> message[0] = e.getMessage());
        return message[0];
    }

    @Test
    void takesTheCallersStream() {
        Device device = new Device(gpu);
        DeviceMemory source = device.floats(1, 2, 3);
        DeviceMemory codes = device.poisoned(3);
        try (KvBackend onStream = gpu.onStream(42)) {
            onStream.cast(source, DType.FLOAT32, codes, DType.E4M3FN, 3, 1);
            onStream.synchronize();
        }
        assertThat(device.readBytes(codes, 3)).containsExactly(0x38, 0x40, 0x44);
    }
}
