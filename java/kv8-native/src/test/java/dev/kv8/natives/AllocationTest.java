package dev.kv8.natives;

import static org.assertj.core.api.Assertions.assertThat;

import com.sun.management.ThreadMXBean;
import dev.kv8.Activation;
import dev.kv8.AmaxGranularity;
import dev.kv8.AttentionOptions;
import dev.kv8.AttentionPlan;
import dev.kv8.ChannelScales;
import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.RopeTable;
import java.lang.management.ManagementFactory;
import org.junit.jupiter.api.Test;

/** What a step calls for each layer puts nothing on the Java heap. */
class AllocationTest extends CpuTest {
    private static final ThreadMXBean THREADS = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    private static final int CALLS = 2_000;

    @Test
    void kernelCallsAllocateNothing() {
        ChannelScales scales = new ChannelScales(device.floats(0.01f), 0, 0);
        CacheLayer layer = CacheLayer.of(backend, DType.E4M3FN, DType.E4M3FN, 4, 16, 1, 64, false, scales, scales);
        HeadRows rows = device.rows(new float[64], 1, 64);
        HeadRows out = device.rows(new float[64], 1, 64);
        DeviceMemory one = device.floats(1, 1, 1, 1);
        DeviceMemory amax = device.floats(0);
        DeviceMemory slots = device.longs(5);
        DeviceMemory zero = device.ints(0);
        DeviceMemory pairs = device.ints(0, 1);
        DeviceMemory lse = device.floats(0);
        DeviceMemory weight = device.floats(new float[64]);
        DeviceMemory sampling = device.floats(0, 1, 0, 0);
        DeviceMemory codes = device.poisoned(64);
        RopeTable rope = new RopeTable(device.floats(new RopeAngles(4, 64).table()), 64, RopeTable.Style.HALF);
        AttentionOptions options = AttentionOptions.causal(64);
        DeviceMemory starts = device.ints(0, 1);
        DeviceMemory lengths = device.ints(6);
        AttentionPlan plan = backend.attentionPlan(1, 1, 64);

        assertAllocatesNothing("write", () -> backend.write(layer.view(), rows, rows, 1, slots, rope, zero, null));
        assertAllocatesNothing("gather", () -> backend.gather(layer.view(), out, out, 1, slots));
        assertAllocatesNothing("moveBlocks", () -> backend.moveBlocks(layer.view(), layer.view(), 1, pairs));
        assertAllocatesNothing("plan", () -> plan.update(1, starts, lengths));
        assertAllocatesNothing("attend", () -> backend.attend(layer.view(), plan, zero, 1, rows, out, lse, options));
        assertAllocatesNothing("mergeStates", () -> backend.mergeStates(rows, lse, rows, lse, out, null, 1));
        assertAllocatesNothing("rmsNorm", () -> backend.rmsNorm(rows, null, weight, DType.FLOAT32, 1e-5f, out, 1));
        assertAllocatesNothing("rope", () -> backend.rope(out, rope, zero, 1));
        assertAllocatesNothing("gateMul", () -> backend.gateMul(Activation.SILU, rows, rows, out, 1));
        assertAllocatesNothing("softcap", () -> backend.softcap(out, 1, 30));
        assertAllocatesNothing("embedding", () -> backend.embedding(weight, DType.FLOAT32, 1, zero, out, 1, 1));
        assertAllocatesNothing("sample", () -> backend.sample(rows, sampling, zero, 1));
        assertAllocatesNothing("cast", () -> backend.cast(weight, DType.FLOAT32, codes, DType.E4M3FN, 64, 1));
        assertAllocatesNothing("amax", () -> backend.amax(rows, 1, AmaxGranularity.TENSOR, amax, false));
        assertAllocatesNothing("copy", () -> backend.copy(one, 0, amax, 0, 4));
        assertAllocatesNothing("synchronize", backend::synchronize);
    }

    private static void assertAllocatesNothing(String name, Runnable call) {
        for (int i = 0; i < CALLS; i++) {
            call.run();
        }
        long before = THREADS.getCurrentThreadAllocatedBytes();
        for (int i = 0; i < CALLS; i++) {
            call.run();
        }
        long bytes = THREADS.getCurrentThreadAllocatedBytes() - before;
        // Reading the counter may itself allocate once; one byte per call would already be 2000.
        assertThat(bytes).as("bytes allocated by %d calls of %s", CALLS, name).isLessThan(CALLS / 4);
    }
}
