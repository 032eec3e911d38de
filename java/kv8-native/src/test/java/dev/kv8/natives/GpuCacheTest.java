package dev.kv8.natives;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.kv8.Batch;
import dev.kv8.DType;
import dev.kv8.DeviceInfo;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import dev.kv8.KvCache;
import dev.kv8.KvCacheConfig;
import dev.kv8.KvCacheDType;
import dev.kv8.RopeTable;
import dev.kv8.Sequence;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * A whole cache on the emulator against one on the CPU: chunks of prefill, decode, forks that write, a closed sequence whose
 * blocks are used again.
 */
class GpuCacheTest {
    private static final int LAYERS = 2;
    private static final int KV_HEADS = 2;
    private static final int QUERY_HEADS = 4;
    private static final int SIZE = 64;
    private static final int ROWS = 16;

    @ParameterizedTest
    @CsvSource({"sm_90, false", "sm_90, true", "gfx942, true", "gfx1100, false"})
    void attendsAsOnTheCpu(String arch, boolean asDeviceMemory) {
        List<float[]> expected;
        try (KvBackend cpu = KvBackend.open("cpu")) {
            expected = run(cpu);
        }
        List<float[]> got;
        try (KvBackend emulator = OpenEmulator.of(arch)) {
            got = run(asDeviceMemory ? unreachable(emulator) : emulator);
            assertThat(emulator.info().allocatedBytes()).isZero();
        }
        assertThat(got).hasSameSizeAs(expected);
        for (int call = 0; call < got.size(); call++) {
            for (int i = 0; i < got.get(call).length; i++) {
                assertThat(got.get(call)[i])
                        .as("call %d, element %d", call, i)
                        .isCloseTo(expected.get(call)[i], within(2e-5f));
            }
        }
    }

    /** The results of every call to attend, in order. */
    private static List<float[]> run(KvBackend backend) {
        List<float[]> results = new ArrayList<>();
        KvCacheConfig config = KvCacheConfig.builder()
                .layers(LAYERS)
                .kvHeads(KV_HEADS)
                .headSize(SIZE)
                .blockSize(8)
                .blocks(8)
                .dtype(KvCacheDType.FP8_E4M3)
                .build();
        Device device = new Device(backend);
        try (DeviceMemory angles = device.floats(new RopeAngles(64, SIZE).table());
                Rows q = Rows.of(device, QUERY_HEADS);
                Rows k = Rows.of(device, KV_HEADS);
                Rows v = Rows.of(device, KV_HEADS);
                Rows out = Rows.of(device, QUERY_HEADS);
                KvCache cache = KvCache.create(backend, config);
                Batch batch = cache.batch()) {
            Random random = new Random(97);
            RopeTable rope = new RopeTable(angles, SIZE, RopeTable.Style.HALF);
            Sequence first = cache.open(new int[20]);
            Sequence second = cache.open(new int[3]);
            for (int step = 0; step < 6; step++) {
                int chunk = Math.min(ROWS - 4, first.pendingTokens());
                assertThat(batch.add(first, chunk)).isTrue();
                assertThat(batch.add(second)).isTrue();
                for (int layer = 0; layer < LAYERS; layer++) {
                    q.fill(backend, random);
                    k.fill(backend, random);
                    v.fill(backend, random);
                    cache.write(layer, batch, k.rows, v.rows, rope);
                    cache.attend(layer, batch, q.rows, out.rows);
                    results.add(device.readFloats(out.memory, batch.tokens() * QUERY_HEADS * SIZE));
                }
                batch.commit();
                if (step == 2) {
                    second.close();
                    second = first.fork();
                }
                if (first.pendingTokens() == 0) {
                    first.append(1);
                }
                second.append(2);
            }
        }
        return results;
    }

    /** Rows that a step computes into. */
    private record Rows(DeviceMemory memory, HeadRows rows, int elements) implements AutoCloseable {
        static Rows of(Device device, int heads) {
            int elements = ROWS * heads * SIZE;
            DeviceMemory memory = device.poisoned(4L * elements);
            return new Rows(memory, HeadRows.of(memory, DType.FLOAT32, heads, SIZE), elements);
        }

        void fill(KvBackend backend, Random random) {
            var bytes = Device.buffer(4 * elements);
            bytes.asFloatBuffer().put(Numbers.gaussian(random, elements));
            backend.upload(bytes, memory, 0);
        }

        @Override
        public void close() {
            memory.close();
        }
    }

    /** The same backend, but said to have memory that the host cannot reach: the cache then copies its tables there. */
    private static KvBackend unreachable(KvBackend backend) {
        return (KvBackend) Proxy.newProxyInstance(
                KvBackend.class.getClassLoader(), new Class<?>[] {KvBackend.class}, (proxy, method, arguments) -> {
                    try {
                        Object result = method.invoke(backend, arguments);
                        return result instanceof DeviceInfo info ? unreachable(info) : result;
                    } catch (InvocationTargetException e) {
                        throw e.getCause();
                    }
                });
    }

    private static DeviceInfo unreachable(DeviceInfo info) {
        return new DeviceInfo(
                info.backend(),
                info.ordinal(),
                info.name(),
                info.arch(),
                info.memoryBytes(),
                info.freeBytes(),
                info.allocatedBytes(),
                info.storable(),
                info.nativeFp8(),
                info.threads(),
                false,
                info.driver());
    }
}
