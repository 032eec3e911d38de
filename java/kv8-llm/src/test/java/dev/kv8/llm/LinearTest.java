package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;

import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.SplittableRandom;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class LinearTest extends CpuTest {
    private static final long SEED = 20261124;
    private static OneDnn dnn;

    @BeforeAll
    static void open() {
        dnn = new OneDnn(backend);
    }

    @AfterAll
    static void close() {
        dnn.close();
    }

    private static float[] random(SplittableRandom random, int count) {
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            // Exact in bfloat16.
            values[i] = (random.nextInt(255) - 127) / 128f;
        }
        return values;
    }

    /** Of all 24 bits, so that sums in another order are rounded otherwise. */
    private static float[] uneven(SplittableRandom random, int count) {
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = (float) random.nextDouble(-1, 1);
        }
        return values;
    }

    private static DeviceMemory upload(float[] values, int count) {
        ByteBuffer bytes = ByteBuffer.allocateDirect(count * Float.BYTES).order(ByteOrder.nativeOrder());
        for (int i = 0; i < count; i++) {
            bytes.putFloat(i < values.length ? values[i] : 0);
        }
        DeviceMemory memory = backend.allocate(bytes.capacity());
        backend.upload(bytes.flip(), memory, 0);
        return memory;
    }

    private static float[] download(DeviceMemory memory, int count) {
        float[] values = new float[count];
        ByteBuffer bytes = ByteBuffer.allocateDirect(count * Float.BYTES).order(ByteOrder.nativeOrder());
        backend.download(memory, 0, bytes);
        bytes.asFloatBuffer().get(values);
        return values;
    }

    private static DeviceMemory weights(DType type, float[] w) {
        DeviceMemory rows = upload(w, w.length);
        if (type == DType.FLOAT32) {
            return rows;
        }
        DeviceMemory narrow = backend.allocate((long) w.length * type.bytes());
        backend.cast(rows, DType.FLOAT32, narrow, type, w.length, 1);
        rows.close();
        return narrow;
    }

    /** Against double, and bit for bit independent of how many rows there are, whoever multiplies them: odd shapes too. */
    @ParameterizedTest
    @EnumSource(
            value = DType.class,
            names = {"FLOAT32", "FLOAT16", "BFLOAT16"})
    void multipliesAsDoubleDoesWithBitsThatDoNotDependOnTheRows(DType type) {
        SplittableRandom random = new SplittableRandom(SEED);
        int[][] shapes = {
            {512, 256},
            {256, 704},
            {48, 576},
            {33, 1000},
            {64, 2816},
            {7, 13},
            {1, 4096},
            {2048, 64},
            {130, 2100},
            {64, 1032}
        };
        for (int[] shape : shapes) {
            int outputs = shape[0];
            int inputs = shape[1];
            boolean withBias = random.nextBoolean();
            float[] w = random(random, outputs * inputs);
            float[] xRow = uneven(random, inputs);
            float[] b = random(random, outputs);
            LinearWeights given = new LinearWeights(
                    weights(type, w), type, true, withBias ? upload(b, outputs) : null, outputs, inputs);
            float[] first = null;
            try (Linear linear = dnn.linear(given, Linear.Result.AS_INPUT)) {
                for (int rows : new int[] {1, 2, 3, 5, 8, 9, 16, 17, 64, 65, 130}) {
                    String what = "seed " + SEED + ", " + type + ", " + outputs + " x " + inputs + ", rows " + rows;
                    float[] x = uneven(random, rows * inputs);
                    System.arraycopy(xRow, 0, x, (rows - 1) * inputs, inputs);
                    int room = dnn.room(rows);
                    try (DeviceMemory xMemory = upload(x, room * inputs);
                            DeviceMemory yMemory = backend.allocate((long) room * outputs * Float.BYTES)) {
                        linear.apply(
                                HeadRows.of(xMemory, DType.FLOAT32, 1, inputs),
                                HeadRows.of(yMemory, DType.FLOAT32, 1, outputs),
                                rows);
                        float[] y = download(yMemory, rows * outputs);
                        for (int row = 0; row < rows; row += Math.max(1, rows / 3)) {
                            for (int output = 0; output < outputs; output += 5) {
                                double sum = withBias ? b[output] : 0;
                                double magnitude = Math.abs(sum);
                                for (int i = 0; i < inputs; i++) {
                                    double term = (double) x[row * inputs + i] * w[output * inputs + i];
                                    sum += term;
                                    magnitude += Math.abs(term);
                                }
                                assertThat(Math.abs(y[row * outputs + output] - sum))
                                        .as(what)
                                        .isLessThanOrEqualTo(1e-6 * magnitude);
                            }
                        }
                        float[] last = Arrays.copyOfRange(y, (rows - 1) * outputs, rows * outputs);
                        if (first == null) {
                            first = last;
                        }
                        assertThat(last).as(what).containsExactly(first);
                    }
                }
            }
        }
    }

    @Test
    void findsTheOrderOfSumsByTheirBits() {
        int inputs = 3000;
        int outputs = 40;
        float[] w = uneven(new SplittableRandom(SEED), inputs * outputs);
        try (DeviceMemory matrix = upload(w, w.length)) {
            SumOrder.OrderedProduct own =
                    (x, y, rows, length) -> backend.matmulInOrder(x, matrix, DType.FLOAT32, null, y, rows, length);
            for (int length : new int[] {0, 256, 512, 1024, 2048}) {
                assertThat(SumOrder.of(backend, (x, y, rows) -> own.multiply(x, y, rows, length), own, inputs, outputs))
                        .isEqualTo(length);
            }
            assertThat(SumOrder.of(backend, (x, y, rows) -> own.multiply(x, y, rows, 100), own, inputs, outputs))
                    .isEqualTo(SumOrder.UNKNOWN);
        }
    }

    @Test
    void takesEveryTypeOfWeights() {
        SplittableRandom random = new SplittableRandom(SEED);
        float[] w = random(random, 48 * 96);
        float[] x = random(random, 2 * 96);
        float[] expected = null;
        for (DType type : new DType[] {DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16}) {
            DeviceMemory rows = weights(type, w);
            try (Linear linear = dnn.linear(new LinearWeights(rows, type, true, null, 48, 96), Linear.Result.AS_INPUT);
                    DeviceMemory xMemory = upload(x, x.length);
                    DeviceMemory yMemory = backend.allocate(2L * 48 * Float.BYTES)) {
                linear.apply(HeadRows.of(xMemory, DType.FLOAT32, 1, 96), HeadRows.of(yMemory, DType.FLOAT32, 1, 48), 2);
                float[] y = download(yMemory, 2 * 48);
                if (expected == null) {
                    expected = y;
                }
                assertThat(y).as("%s", type).containsExactly(expected);
            }
        }
    }

    @Test
    void keepsWeightsAsTheyAre() {
        int outputs = 1024;
        int inputs = 4096;
        SplittableRandom random = new SplittableRandom(SEED);
        float[] w = random(random, outputs * inputs);
        DeviceMemory wide = upload(w, w.length);
        DeviceMemory rows = backend.allocate((long) w.length * 2);
        backend.cast(wide, DType.FLOAT32, rows, DType.BFLOAT16, w.length, 1);
        wide.close();
        long before = backend.info().allocatedBytes();
        try (Linear linear = dnn.linear(
                        new LinearWeights(rows, DType.BFLOAT16, true, null, outputs, inputs), Linear.Result.AS_INPUT);
                DeviceMemory x = upload(random(random, 2 * inputs), 2 * inputs);
                DeviceMemory y = backend.allocate(2L * outputs * Float.BYTES)) {
            linear.apply(HeadRows.of(x, DType.FLOAT32, 1, inputs), HeadRows.of(y, DType.FLOAT32, 1, outputs), 1);
            assertThat(backend.info().allocatedBytes() - before).isLessThan(1 << 20);
        }
        assertThat(rows.isClosed()).isTrue();
    }
}
