package dev.kv8;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;

/**
 * A step's calls from Java into native code, each with as little to compute as there is: one token, one head, one key. What is left is
 * the way there and back, with the checks of arguments on it. With the backend that the class path and {@code kv.backend} give.
 */
@State(Scope.Thread)
public class Door {
    private static final int BLOCK_SIZE = 16;
    private static final int HEAD_SIZE = 64;
    private static final long ROW_BYTES = (long) HEAD_SIZE * Float.BYTES;
    private static final long SIDE_BYTES = (long) BLOCK_SIZE * HEAD_SIZE;

    private final List<DeviceMemory> memories = new ArrayList<>();
    private final KvBackend backend = KvBackend.open();
    private final DeviceMemory zeros = memory(ROW_BYTES);
    private final DeviceMemory results = memory(ROW_BYTES);
    private final HeadRows rows = HeadRows.of(zeros, DType.FLOAT32, 1, HEAD_SIZE);
    private final HeadRows out = HeadRows.of(results, DType.FLOAT32, 1, HEAD_SIZE);
    private final DeviceMemory starts = backend.allocateHost(2L * Integer.BYTES);
    private final DeviceMemory lengths = backend.allocateHost(Integer.BYTES);
    private final AttentionOptions options = AttentionOptions.causal(HEAD_SIZE);
    private final AttentionPlan plan = backend.attentionPlan(1, 1, HEAD_SIZE);
    private final CacheView view = view();

    private DeviceMemory memory(long bytes) {
        DeviceMemory memory = backend.allocate(bytes);
        backend.fill(memory, 0, bytes, (byte) 0);
        memories.add(memory);
        return memory;
    }

    private CacheView view() {
        LayerLayout layout = new LayerLayout(1, BLOCK_SIZE, 1, HEAD_SIZE, 2 * SIDE_BYTES, side(0), side(SIDE_BYTES));
        return backend.view(memory(2 * SIDE_BYTES), layout, null, null);
    }

    private static LayerLayout.Side side(long offset) {
        return new LayerLayout.Side(DType.E4M3FN, offset, SIDE_BYTES, HEAD_SIZE, LayerLayout.NO_ROW_SCALES, 0);
    }

    @Setup
    public void scheduleOneToken() {
        ByteBuffer start = backend.hostView(starts, 0, 2 * Integer.BYTES).order(ByteOrder.nativeOrder());
        start.putInt(0, 0).putInt(Integer.BYTES, 1);
        backend.hostView(lengths, 0, Integer.BYTES)
                .order(ByteOrder.nativeOrder())
                .putInt(0, 1);
        plan();
    }

    @Benchmark
    public void cast() {
        backend.cast(zeros, DType.FLOAT32, results, DType.E4M3FN, 1, 1);
    }

    @Benchmark
    public void write() {
        backend.write(view, rows, rows, 1, zeros, null, null, null);
    }

    @Benchmark
    public void plan() {
        plan.update(1, starts, lengths);
    }

    @Benchmark
    public void attend() {
        backend.attend(view, plan, zeros, 1, rows, out, null, options);
    }

    @TearDown
    public void close() {
        plan.close();
        view.close();
        memories.forEach(DeviceMemory::close);
        starts.close();
        lengths.close();
        backend.close();
    }
}
