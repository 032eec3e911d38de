package dev.kv8.natives;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.kv8.Activation;
import dev.kv8.AmaxGranularity;
import dev.kv8.AttentionOptions;
import dev.kv8.AttentionPlan;
import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import dev.kv8.RopeTable;
import java.nio.ByteBuffer;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.Test;

/** Use after close is refused and never reaches native code, whoever closed and when. */
class ClosedTest extends CpuTest {

    @Test
    void refusesEveryCallOnAClosedBackend() {
        DeviceMemory memory = DeviceMemory.wrap(64, 64); // not the backend's, so that only the backend is closed
        HeadRows rows = HeadRows.of(memory, DType.FLOAT32, 1, 1);
        CacheLayer layer = CacheLayer.plain(backend, DType.FLOAT32, 1, 8, 1, 64);
        RopeTable rope = new RopeTable(memory, 2, RopeTable.Style.HALF);
        AttentionPlan plan = backend.attentionPlan(1, 1, 64);
        AttentionOptions options = AttentionOptions.causal(64);
        String closed = backend.info().backend();
        backend.close();

        Map<String, ThrowingCallable> calls = new LinkedHashMap<>();
        calls.put("info", backend::info);
        calls.put("allocate", () -> backend.allocate(1));
        calls.put("allocateHost", () -> backend.allocateHost(1));
        calls.put("hostView", () -> backend.hostView(memory, 0, 1));
        calls.put("upload", () -> backend.upload(ByteBuffer.allocate(1), memory, 0));
        calls.put("download", () -> backend.download(memory, 0, ByteBuffer.allocate(1)));
        calls.put("copy", () -> backend.copy(memory, 0, memory, 32, 1));
        calls.put("fill", () -> backend.fill(memory, 0, 1, (byte) 0));
        calls.put("synchronize", backend::synchronize);
        calls.put("onStream", () -> backend.onStream(0));
        calls.put("cast", () -> backend.cast(memory, DType.FLOAT32, memory, DType.E5M2, 1, 1));
        calls.put("amax", () -> backend.amax(rows, 1, AmaxGranularity.TENSOR, memory, false));
        calls.put("view", () -> backend.view(memory, layer.layout(), null, null));
        calls.put("write", () -> backend.write(layer.view(), rows, rows, 1, memory, null, null, null));
        calls.put("gather", () -> backend.gather(layer.view(), rows, rows, 1, memory));
        calls.put("moveBlocks", () -> backend.moveBlocks(layer.view(), layer.view(), 1, memory));
        calls.put("attentionPlan", () -> backend.attentionPlan(1, 1, 64));
        calls.put("plan.update", () -> plan.update(1, memory, memory));
        calls.put("attend", () -> backend.attend(layer.view(), plan, memory, 1, rows, rows, null, options));
        calls.put("mergeStates", () -> backend.mergeStates(rows, memory, rows, memory, rows, null, 1));
        calls.put("rmsNorm", () -> backend.rmsNorm(rows, null, memory, DType.FLOAT32, 0, rows, 1));
        calls.put("rope", () -> backend.rope(rows, rope, memory, 1));
        calls.put("matmul", () -> backend.matmul(rows, memory, null, rows, 1));
        calls.put("gateMul", () -> backend.gateMul(Activation.SILU, rows, rows, rows, 1));
        calls.put("softcap", () -> backend.softcap(rows, 1, 30));
        calls.put("embedding", () -> backend.embedding(memory, DType.FLOAT32, 1, memory, rows, 1, 1));
        calls.put("sample", () -> backend.sample(rows, memory, memory, 1));
        calls.forEach((name, call) -> assertThatThrownBy(call)
                .as(name)
                .isInstanceOf(IllegalStateException.class)
                .hasMessage("This " + closed + " backend has been closed."));
    }

    @Test
    void closesItsMemoryWithItself() {
        DeviceMemory memory = backend.allocate(64);
        DeviceMemory part = memory.slice(16, 16);
        backend.close();
        backend.close();

        assertThat(memory.isClosed()).isTrue();
        assertThatThrownBy(part::address)
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("has been closed");
        try (KvBackend other = new NativeBackendProvider().open("cpu")) {
            assertThatThrownBy(() -> other.fill(memory, 0, 64, (byte) 0)).isInstanceOf(IllegalStateException.class);
        }
        assertThatCode(memory::close).doesNotThrowAnyException();
    }

    @Test
    void refusesClosedMemoryViewsAndPlans() {
        CacheLayer layer = CacheLayer.plain(backend, DType.FLOAT32, 2, 8, 1, 64);
        HeadRows rows = device.rows(new float[64], 1, 64);
        DeviceMemory slots = device.longs(0);
        slots.close();
        assertThatThrownBy(() -> backend.gather(layer.view(), rows, rows, 1, slots))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("8 bytes");

        AttentionPlan plan = backend.attentionPlan(1, 1, 64);
        DeviceMemory zero = device.ints(0);
        AttentionOptions options = AttentionOptions.causal(64);
        ThrowingCallable attend = () -> backend.attend(layer.view(), plan, zero, 1, rows, rows, null, options);
        assertThatThrownBy(attend)
                .isInstanceOf(IllegalStateException.class)
                .hasMessage("This attention plan holds no step; call update first.");
        plan.close();
        plan.close();
        assertThatThrownBy(attend)
                .isInstanceOf(IllegalStateException.class)
                .hasMessage("This attention plan has been closed.");
        assertThatThrownBy(() -> plan.update(0, zero, zero)).isInstanceOf(IllegalStateException.class);

        DeviceMemory live = device.longs(0);
        layer.pool().close();
        assertThatThrownBy(() -> backend.gather(layer.view(), rows, rows, 1, live))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("memory behind this cache view");
        layer.view().close();
        assertThatThrownBy(() -> backend.gather(layer.view(), rows, rows, 1, live))
                .isInstanceOf(IllegalStateException.class)
                .hasMessage("This cache view has been closed.");
    }

    @Test
    void waitsForRunningCallsWhenClosedByAnotherThread() throws InterruptedException {
        for (int round = 0; round < 20; round++) {
            KvBackend own = new NativeBackendProvider().open("cpu");
            HeadRows rows = HeadRows.of(own.allocate(1 << 20), DType.FLOAT32, 1, 1 << 8);
            AtomicInteger calls = new AtomicInteger();
            AtomicReference<Throwable> end = new AtomicReference<>();
            CountDownLatch running = new CountDownLatch(3);
            Thread worker = new Thread(() -> {
                try {
                    while (true) {
                        own.gateMul(Activation.SILU, rows, rows, rows, 1 << 10);
                        calls.incrementAndGet();
                        running.countDown();
                    }
                } catch (Throwable e) {
                    end.set(e);
                }
            });
            worker.start();
            running.await();
            if (round % 2 == 0) {
                own.close();
            } else {
                rows.memory().close();
            }
            worker.join(10_000);
            own.close();
            assertThat(end.get()).isInstanceOf(IllegalStateException.class);
            assertThat(calls.get()).isPositive();
        }
    }

    @Test
    void freesNothingTwiceWhenMemoryAndBackendAreClosedAtOnce() throws InterruptedException {
        for (int round = 0; round < 200; round++) {
            KvBackend own = new NativeBackendProvider().open("cpu");
            DeviceMemory memory = own.allocate(4096);
            AtomicReference<Throwable> failure = new AtomicReference<>();
            Thread closer = new Thread(() -> {
                try {
                    memory.close();
                } catch (Throwable e) {
                    failure.set(e);
                }
            });
            closer.start();
            own.close();
            closer.join();
            assertThat(failure.get()).isNull();
        }
    }
}
