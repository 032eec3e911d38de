package dev.kv8.natives;

import dev.kv8.AttentionOptions;
import dev.kv8.AttentionPlan;
import dev.kv8.BackendUnavailableException;
import dev.kv8.CacheView;
import dev.kv8.ChannelScales;
import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.Fp8Format;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import dev.kv8.LayerLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Locale;

/**
 * Writes a few tokens into one block and attends over them, in float32 and in float16, which GPUs compute with other
 * instructions, and compares with the same in plain Java. It finds a device that loads but does not compute: a driver that is
 * too old, an architecture without code.
 */
final class SelfTest {
    private static final int TOKENS = 5;
    private static final int BLOCK_SIZE = 16;
    private static final int HEAD_SIZE = 64;
    private static final int QUERY_HEADS = 2;
    private static final float SCALE = 0.02f;
    private static final int BLOCK = 1;

    /** How far a result may be from the exact one, for values of at most 1: the documented error and the output's rounding. */
    private static final double TOLERANCE_FLOAT32 = 1e-4;

    private static final double TOLERANCE_FLOAT16 = 4e-3;

    private final Fp8Format format;
    private final float[] k = pattern(TOKENS * HEAD_SIZE, 3);
    private final float[] v = pattern(TOKENS * HEAD_SIZE, 5);
    private final float[] q = pattern(QUERY_HEADS * HEAD_SIZE, 7);

    private SelfTest(Fp8Format format) {
        this.format = format;
    }

    /**
     * Runs on {@code backend}.
     *
     * @throws BackendUnavailableException when the result is wrong, with the first wrong element
     */
    static void run(KvBackend backend) {
        boolean ocp = backend.info().storable().contains(DType.E4M3FN);
        SelfTest test = new SelfTest(ocp ? Fp8Format.E4M3FN : Fp8Format.E4M3FNUZ);
        test.compute(backend);
    }

    /** Numbers between -1 and 1 without a short period, exact in float16. */
    private static float[] pattern(int count, int step) {
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = (float) Math.rint(1024 * Math.sin(step * (i + 1.0))) / 1024;
        }
        return values;
    }

    private void compute(KvBackend backend) {
        long rows = (long) BLOCK_SIZE * HEAD_SIZE;
        LayerLayout layout = new LayerLayout(
                2,
                BLOCK_SIZE,
                1,
                HEAD_SIZE,
                2 * rows,
                new LayerLayout.Side(format.dtype(), 0, rows, HEAD_SIZE, LayerLayout.NO_ROW_SCALES, 0),
                new LayerLayout.Side(format.dtype(), rows, rows, HEAD_SIZE, LayerLayout.NO_ROW_SCALES, 0));
        AttentionOptions options = AttentionOptions.causal(HEAD_SIZE);
        try (DeviceMemory pool = backend.allocate(4 * rows);
                DeviceMemory scale = upload(backend, floats(SCALE));
                DeviceMemory keys = upload(backend, floats(k));
                DeviceMemory values = upload(backend, floats(v));
                DeviceMemory queries = upload(backend, floats(q));
                DeviceMemory halfQueries = backend.allocate(2L * q.length);
                DeviceMemory out = backend.allocate(4L * q.length);
                DeviceMemory halfOut = backend.allocate(2L * q.length);
                DeviceMemory slots = upload(backend, slots());
                DeviceMemory table = upload(backend, ints(BLOCK));
                DeviceMemory starts = host(backend, ints(0, 1));
                DeviceMemory lengths = host(backend, ints(TOKENS));
                CacheView view =
                        backend.view(pool, layout, new ChannelScales(scale, 0, 0), new ChannelScales(scale, 0, 0));
                AttentionPlan plan = backend.attentionPlan(QUERY_HEADS, 1, HEAD_SIZE)) {
            backend.write(
                    view,
                    HeadRows.of(keys, DType.FLOAT32, 1, HEAD_SIZE),
                    HeadRows.of(values, DType.FLOAT32, 1, HEAD_SIZE),
                    TOKENS,
                    slots,
                    null,
                    null,
                    null);
            plan.update(1, starts, lengths);
            HeadRows query = HeadRows.of(queries, DType.FLOAT32, QUERY_HEADS, HEAD_SIZE);
            HeadRows result = HeadRows.of(out, DType.FLOAT32, QUERY_HEADS, HEAD_SIZE);
            backend.attend(view, plan, table, 1, query, result, null, options);
            compare(backend, out, DType.FLOAT32, TOLERANCE_FLOAT32);

            backend.cast(queries, DType.FLOAT32, halfQueries, DType.FLOAT16, q.length, 1);
            HeadRows halfQuery = HeadRows.of(halfQueries, DType.FLOAT16, QUERY_HEADS, HEAD_SIZE);
            HeadRows halfResult = HeadRows.of(halfOut, DType.FLOAT16, QUERY_HEADS, HEAD_SIZE);
            backend.attend(view, plan, table, 1, halfQuery, halfResult, null, options);
            backend.cast(halfOut, DType.FLOAT16, out, DType.FLOAT32, q.length, 1);
            compare(backend, out, DType.FLOAT16, TOLERANCE_FLOAT16);
        }
    }

    private void compare(KvBackend backend, DeviceMemory out, DType type, double tolerance) {
        ByteBuffer computed = buffer(4 * q.length);
        backend.download(out, 0, computed);
        for (int head = 0; head < QUERY_HEADS; head++) {
            double[] expected = attend(head);
            for (int d = 0; d < HEAD_SIZE; d++) {
                float got = computed.getFloat(4 * (head * HEAD_SIZE + d));
                if (!(Math.abs(got - expected[d]) <= tolerance)) {
                    throw new BackendUnavailableException(String.format(
                            Locale.ROOT,
                            "The %s backend computes wrong numbers in its self-test: %s, head %d, element %d is %g, not %g.",
                            backend.info().backend(),
                            type,
                            head,
                            d,
                            got,
                            expected[d]));
                }
            }
        }
    }

    private double[] attend(int head) {
        double[] weights = new double[TOKENS];
        double sum = 0;
        for (int token = 0; token < TOKENS; token++) {
            double dot = 0;
            for (int d = 0; d < HEAD_SIZE; d++) {
                dot += q[head * HEAD_SIZE + d] * stored(k[token * HEAD_SIZE + d]);
            }
            weights[token] = Math.exp(dot / Math.sqrt(HEAD_SIZE));
            sum += weights[token];
        }
        double[] out = new double[HEAD_SIZE];
        for (int d = 0; d < HEAD_SIZE; d++) {
            for (int token = 0; token < TOKENS; token++) {
                out[d] += weights[token] / sum * stored(v[token * HEAD_SIZE + d]);
            }
        }
        return out;
    }

    /** What a cache makes of {@code x}. */
    private double stored(float x) {
        return format.decode(format.encode(x / SCALE)) * (double) SCALE;
    }

    private static ByteBuffer slots() {
        ByteBuffer slots = buffer(8 * TOKENS);
        for (int token = 0; token < TOKENS; token++) {
            slots.putLong(8 * token, (long) BLOCK * BLOCK_SIZE + token);
        }
        return slots;
    }

    private static ByteBuffer floats(float... values) {
        ByteBuffer bytes = buffer(4 * values.length);
        bytes.asFloatBuffer().put(values);
        return bytes;
    }

    private static ByteBuffer ints(int... values) {
        ByteBuffer bytes = buffer(4 * values.length);
        bytes.asIntBuffer().put(values);
        return bytes;
    }

    private static ByteBuffer buffer(int bytes) {
        return ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder());
    }

    private static DeviceMemory upload(KvBackend backend, ByteBuffer bytes) {
        DeviceMemory memory = backend.allocate(bytes.remaining());
        backend.upload(bytes, memory, 0);
        return memory;
    }

    private static DeviceMemory host(KvBackend backend, ByteBuffer bytes) {
        DeviceMemory memory = backend.allocateHost(bytes.remaining());
        backend.hostView(memory, 0, bytes.remaining()).put(bytes);
        return memory;
    }
}
