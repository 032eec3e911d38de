package dev.kv8.natives;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.kv8.Activation;
import dev.kv8.AmaxGranularity;
import dev.kv8.AttentionOptions;
import dev.kv8.AttentionPlan;
import dev.kv8.BackendUnavailableException;
import dev.kv8.ChannelScales;
import dev.kv8.DType;
import dev.kv8.DeviceException;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import dev.kv8.RopeTable;
import dev.kv8.natives.abi.kv8;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.Test;

/** Wrong arguments become exceptions that say what was given and what is allowed; nothing is written. */
class RefusalsTest extends CpuTest {

    @Test
    void mapsEveryStatus() {
        assertThat(Status.failure(kv8.KV8_INVALID_ARGUMENT, "m")).isInstanceOf(IllegalArgumentException.class);
        assertThat(Status.failure(kv8.KV8_BUFFER_TOO_SMALL, "m")).isInstanceOf(IllegalArgumentException.class);
        assertThat(Status.failure(kv8.KV8_OUT_OF_MEMORY, "m")).isInstanceOf(DeviceException.class);
        assertThat(Status.failure(kv8.KV8_UNSUPPORTED, "m")).isInstanceOf(UnsupportedOperationException.class);
        assertThat(Status.failure(kv8.KV8_LIBRARY_MISSING, "m")).isInstanceOf(BackendUnavailableException.class);
        assertThat(Status.failure(kv8.KV8_ABI_MISMATCH, "m")).isInstanceOf(BackendUnavailableException.class);
        assertThat(Status.failure(kv8.KV8_DEVICE_ERROR, "m")).isInstanceOf(DeviceException.class);
        assertThat(Status.failure(kv8.KV8_INTERNAL_ERROR, "m"))
                .isInstanceOf(DeviceException.class)
                .hasMessage("m");
    }

    @Test
    void refusesShortBuffersOfEveryKernel() {
        CacheLayer layer = CacheLayer.plain(backend, DType.FLOAT32, 2, 8, 1, 64);
        HeadRows rows = device.rows(new float[2 * 64], 1, 64);
        HeadRows single = device.rows(new float[64], 1, 64);
        DeviceMemory small = device.bytes(new byte[2]);
        DeviceMemory slots = device.longs(0, 1);
        DeviceMemory ids = device.ints(0, 0);
        DeviceMemory weight = device.floats(new float[64]);
        RopeTable rope = new RopeTable(device.floats(new RopeAngles(2, 64).table()), 64, RopeTable.Style.HALF);
        AttentionOptions options = AttentionOptions.causal(64);
        AttentionPlan plan = backend.attentionPlan(1, 1, 64);
        plan.update(1, device.ints(0, 2), device.ints(2));

        refused("cast source", () -> backend.cast(small, DType.FLOAT32, small, DType.E5M2, 1, 1));
        refused("cast target", () -> backend.cast(weight, DType.FLOAT32, small, DType.E5M2, 64, 1));
        refused("amax x", () -> backend.amax(rows, 3, AmaxGranularity.TENSOR, weight, false));
        refused("amax out", () -> backend.amax(rows, 2, AmaxGranularity.TENSOR, small, false));
        refused("write k", () -> backend.write(layer.view(), single, rows, 2, slots, null, null, null));
        refused("write v", () -> backend.write(layer.view(), rows, single, 2, slots, null, null, null));
        refused("write slots", () -> backend.write(layer.view(), rows, rows, 2, small, null, null, null));
        refused("write positions", () -> backend.write(layer.view(), rows, rows, 2, slots, rope, small, null));
        refused("gather", () -> backend.gather(layer.view(), single, rows, 2, slots));
        refused("move pairs", () -> backend.moveBlocks(layer.view(), layer.view(), 1, small));
        refused("plan starts", () -> plan.update(1, small, ids));
        refused("plan lengths", () -> plan.update(1, device.ints(0, 1), small));
        refused("attend q", () -> backend.attend(layer.view(), plan, ids, 1, single, rows, null, options));
        refused("attend out", () -> backend.attend(layer.view(), plan, ids, 1, rows, single, null, options));
        refused("attend table", () -> backend.attend(layer.view(), plan, small, 1, rows, rows, null, options));
        refused("attend lse", () -> backend.attend(layer.view(), plan, ids, 1, rows, rows, small, options));
        refused("merge lse", () -> backend.mergeStates(rows, small, rows, ids, rows, null, 2));
        refused("norm weight", () -> backend.rmsNorm(rows, null, small, DType.FLOAT32, 0, rows, 2));
        refused("norm x", () -> backend.rmsNorm(single, null, weight, DType.FLOAT32, 0, rows, 2));
        refused("rope positions", () -> backend.rope(rows, rope, small, 2));
        refused("matmul weights", () -> backend.matmul(rows, small, null, rows, 2));
        refused("matmul bias", () -> backend.matmul(rows, weight, small, single, 1));
        refused("gate", () -> backend.gateMul(Activation.SILU, rows, single, rows, 2));
        refused("softcap", () -> backend.softcap(single, 2, 30));
        refused("embedding table", () -> backend.embedding(weight, DType.FLOAT32, 2, ids, rows, 2, 1));
        refused("embedding ids", () -> backend.embedding(weight, DType.FLOAT32, 1, small, rows, 2, 1));
        refused("sample", () -> backend.sample(rows, small, ids, 2));
    }

    /** What is wrong in device memory is seen on a GPU by the next call that waits. */
    private ThrowingCallable waiting(ThrowingCallable call) {
        return () -> {
            call.call();
            backend.synchronize();
        };
    }

    private static void refused(String name, ThrowingCallable call) {
        assertThatThrownBy(call)
                .as(name)
                .isInstanceOf(IllegalArgumentException.class)
                .message()
                .containsPattern("\\d")
                .contains("bytes");
    }

    @Test
    void refusesSlotsOutsideTheCacheBeforeWriting() {
        CacheLayer layer = CacheLayer.plain(backend, DType.FLOAT32, 2, 8, 1, 64);
        HeadRows rows = device.rows(new float[2 * 64], 1, 64);
        assertThatThrownBy(() -> backend.write(layer.view(), rows, rows, 2, device.longs(0, 16), null, null, null))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("16");
        assertThatThrownBy(() -> backend.gather(layer.view(), rows, rows, 2, device.longs(0, -2)))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("-2");

        assertThat(device.readBytes(layer.pool(), 4)).containsOnly(-1);
    }

    @Test
    void refusesValuesOutOfRange() {
        HeadRows rows = device.rows(new float[64], 1, 64);
        DeviceMemory table = device.floats(new float[128]);
        assertThatThrownBy(waiting(() -> backend.embedding(table, DType.FLOAT32, 2, device.ints(2), rows, 1, 1)))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("2");
        RopeTable rope = new RopeTable(table, 64, RopeTable.Style.HALF);
        assertThatThrownBy(waiting(() -> backend.rope(rows, rope, device.ints(2), 1)))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("2");
        assertThatThrownBy(() -> backend.rope(rows, new RopeTable(table, 0, RopeTable.Style.HALF), table, 1))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("rotarySize is 0");
        assertThatThrownBy(() -> backend.softcap(rows, 1, 0))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("cap is 0");
        for (float scale : new float[] {0, -1, Float.NaN, Float.POSITIVE_INFINITY, 1e-40f}) {
            assertThatThrownBy(() -> backend.cast(table, DType.FLOAT32, rows.memory(), DType.E4M3FN, 4, scale))
                    .as("scale %s", scale)
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("scale");
        }
        assertThatThrownBy(() -> backend.cast(table, DType.FLOAT32, rows.memory(), DType.E4M3FN, -1, 1))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("-1");
        AttentionPlan plan = backend.attentionPlan(1, 1, 64);
        assertThatThrownBy(() -> plan.update(2, device.ints(0, 2, 1), device.ints(2, 2)))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("from row 2 to row 1");
        assertThatThrownBy(() -> plan.update(1, device.ints(0, 2), device.ints(-1)))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("-1");
        AttentionPlan windowed = backend.attentionPlan(1, 1, 64, -2);
        assertThatThrownBy(() -> windowed.update(1, device.ints(0, 2), device.ints(2)))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("window is -2");
    }

    @Test
    void refusesOtherShapesAndBackends() {
        CacheLayer layer = CacheLayer.plain(backend, DType.FLOAT32, 2, 8, 2, 64);
        HeadRows rows = device.rows(new float[64], 1, 64);
        DeviceMemory slots = device.longs(0);
        assertThatThrownBy(() -> backend.write(layer.view(), rows, rows, 1, slots, null, null, null))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("k has 1 heads of 64 elements; this call needs 2 heads of 64.");
        AttentionPlan plan = backend.attentionPlan(4, 1, 64);
        plan.update(1, device.ints(0, 1), device.ints(1));
        AttentionOptions options = AttentionOptions.causal(64);
        assertThatThrownBy(() -> backend.attend(layer.view(), plan, slots, 1, rows, rows, null, options))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessage("The plan is for 1 KV heads of 64, the cache view has 2 of 64.");
        try (KvBackend other = new NativeBackendProvider().open("cpu")) {
            assertThatThrownBy(() -> other.moveBlocks(layer.view(), layer.view(), 1, slots))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("another backend");
            assertThatThrownBy(() -> {
                        CacheLayer theirs = CacheLayer.plain(other, DType.FLOAT32, 2, 8, 1, 64);
                        other.attend(theirs.view(), plan, slots, 1, rows, rows, null, options);
                    })
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("another backend");
        }
    }

    @Test
    void refusesBadScalesOfAView() {
        for (float scale : new float[] {0, -1, Float.NaN, Float.POSITIVE_INFINITY, 1e-40f}) {
            ChannelScales scales = new ChannelScales(device.floats(scale), 0, 0);
            CacheLayer layer = CacheLayer.of(backend, DType.E4M3FN, DType.E4M3FN, 2, 8, 1, 64, false, scales, scales);
            HeadRows rows = device.rows(new float[64], 1, 64);
            assertThatThrownBy(waiting(
                            () -> backend.write(layer.view(), rows, rows, 1, device.longs(0), null, null, null)))
                    .as("scale %s", scale)
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("scale");
        }
    }

    @Test
    @SuppressWarnings("NullAway") // what a caller without NullAway may do
    void namesWhatIsNull() {
        HeadRows rows = device.rows(new float[64], 1, 64);
        DeviceMemory memory = rows.memory();
        CacheLayer layer = CacheLayer.plain(backend, DType.FLOAT32, 2, 8, 1, 64);
        RopeTable rope = new RopeTable(memory, 2, RopeTable.Style.HALF);
        assertThatThrownBy(() -> backend.cast(null, DType.FLOAT32, memory, DType.E5M2, 1, 1))
                .isInstanceOf(NullPointerException.class)
                .hasMessage("source is null.");
        assertThatThrownBy(() -> backend.write(layer.view(), rows, null, 1, memory, null, null, null))
                .isInstanceOf(NullPointerException.class)
                .hasMessage("v is null.");
        assertThatThrownBy(() -> backend.write(layer.view(), rows, rows, 1, null, null, null, null))
                .isInstanceOf(NullPointerException.class)
                .hasMessage("slots is null.");
        assertThatThrownBy(() -> backend.write(layer.view(), rows, rows, 1, memory, rope, null, null))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("positions");
        assertThatThrownBy(() -> backend.write(null, rows, rows, 1, memory, null, null, null))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("cache view");
        assertThatThrownBy(() -> backend.rope(rows, null, memory, 1))
                .isInstanceOf(NullPointerException.class)
                .hasMessage("table is null.");
    }
}
