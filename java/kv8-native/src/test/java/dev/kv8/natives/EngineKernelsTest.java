package dev.kv8.natives;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.kv8.Activation;
import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.RopeTable;
import java.nio.ByteBuffer;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class EngineKernelsTest extends CpuTest {
    private static final int TOKENS = 3;
    private static final int WIDTH = 100;
    private static final long SEED = 61;

    private final Random random = new Random(SEED);

    @Test
    void normalizesTheSumWithTheResidual() {
        float[] x = Numbers.gaussian(random, TOKENS * WIDTH);
        float[] residual = Numbers.gaussian(random, TOKENS * WIDTH);
        float[] weight = Numbers.gaussian(random, WIDTH);
        HeadRows sum = device.rows(residual, 1, WIDTH);
        DeviceMemory out = device.poisoned(4L * x.length);
        backend.rmsNorm(
                device.rows(x, 1, WIDTH),
                sum,
                device.floats(weight),
                DType.FLOAT32,
                1e-5f,
                HeadRows.of(out, DType.FLOAT32, 1, WIDTH),
                TOKENS);

        float[] got = device.readFloats(out, x.length);
        float[] gotSum = device.readFloats(sum.memory(), x.length);
        for (int token = 0; token < TOKENS; token++) {
            double squares = 0;
            for (int d = 0; d < WIDTH; d++) {
                float s = x[token * WIDTH + d] + residual[token * WIDTH + d];
                assertThat(gotSum[token * WIDTH + d]).isEqualTo(s);
                squares += (double) s * s;
            }
            for (int d = 0; d < WIDTH; d++) {
                double expected = gotSum[token * WIDTH + d] / Math.sqrt(squares / WIDTH + 1e-5) * weight[d];
                assertThat((double) got[token * WIDTH + d])
                        .as("seed %d, token %d, element %d", SEED, token, d)
                        .isCloseTo(expected, within(1e-5));
            }
        }
    }

    @Test
    void normalizesByHeadInPlaceWithABfloat16Weight() {
        float[] x = Numbers.gaussian(random, TOKENS * 2 * 50);
        HeadRows rows = device.rows(x, 2, 50);
        short[] weight = new short[50];
        java.util.Arrays.fill(weight, Numbers.toBfloat(2));
        backend.rmsNorm(rows, null, device.halves(weight), DType.BFLOAT16, 0, rows, TOKENS);

        float[] got = device.readFloats(rows.memory(), x.length);
        for (int row = 0; row < TOKENS * 2; row++) {
            double squares = 0;
            for (int d = 0; d < 50; d++) {
                squares += (double) x[row * 50 + d] * x[row * 50 + d];
            }
            assertThat((double) got[row * 50])
                    .as("seed %d, row %d", SEED, row)
                    .isCloseTo(2 * x[row * 50] / Math.sqrt(squares / 50), within(1e-5));
        }
    }

    @ParameterizedTest
    @EnumSource(RopeTable.Style.class)
    void rotates(RopeTable.Style style) {
        float[] x = Numbers.gaussian(random, TOKENS * 2 * 64);
        HeadRows rows = device.rows(x, 2, 64);
        RopeAngles angles = new RopeAngles(8, 64);
        int[] positions = {7, 0, 3};
        backend.rope(rows, new RopeTable(device.floats(angles.table()), 64, style), device.ints(positions), TOKENS);

        angles.rotate(x, positions, 2, 64, style);
        assertThat(device.readFloats(rows.memory(), x.length))
                .as("seed %d", SEED)
                .isEqualTo(x);
    }

    @ParameterizedTest
    @EnumSource
    void gates(Activation activation) {
        float[] gate = Numbers.gaussian(random, TOKENS * WIDTH);
        float[] up = Numbers.gaussian(random, TOKENS * WIDTH);
        HeadRows out = device.rows(gate, 1, WIDTH);
        backend.gateMul(activation, out, device.rows(up, 1, WIDTH), out, TOKENS);

        float[] got = device.readFloats(out.memory(), gate.length);
        for (int i = 0; i < gate.length; i++) {
            double x = gate[i];
            double activated = switch (activation) {
                case SILU -> x / (1 + Math.exp(-x));
                case GELU_TANH -> x / 2 * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x)));
            };
            assertThat((double) got[i]).as("seed %d, element %d", SEED, i).isCloseTo(activated * up[i], within(1e-5));
        }
    }

    @Test
    void capsSoftly() {
        float[] x = Numbers.gaussian(random, TOKENS * WIDTH);
        HeadRows rows = device.rows(x, 1, WIDTH);
        backend.softcap(rows, TOKENS, 0.75f);

        float[] got = device.readFloats(rows.memory(), x.length);
        for (int i = 0; i < x.length; i++) {
            double expected = 0.75 * Math.tanh(x[i] / 0.75);
            assertThat((double) got[i]).as("seed %d, element %d", SEED, i).isCloseTo(expected, within(1e-6));
        }
    }

    @Test
    void multiplies() {
        int outputs = 5;
        float[] x = Numbers.gaussian(random, TOKENS * WIDTH);
        float[] weights = Numbers.gaussian(random, outputs * WIDTH);
        float[] bias = Numbers.gaussian(random, outputs);
        HeadRows rows = device.rows(x, 1, WIDTH);
        HeadRows y = HeadRows.of(device.poisoned(4L * TOKENS * outputs), DType.FLOAT32, 1, outputs);
        DeviceMemory matrix = device.floats(weights);
        DeviceMemory offset = device.floats(bias);
        backend.matmul(rows, matrix, offset, y, TOKENS);
        float[] got = device.readFloats(y.memory(), TOKENS * outputs);
        for (int t = 0; t < TOKENS; t++) {
            for (int o = 0; o < outputs; o++) {
                double expected = bias[o];
                for (int i = 0; i < WIDTH; i++) {
                    expected += (double) x[t * WIDTH + i] * weights[o * WIDTH + i];
                }
                assertThat((double) got[t * outputs + o])
                        .as("seed %d, row %d, output %d", SEED, t, o)
                        .isCloseTo(expected, within(1e-4));
            }
        }
    }

    @Test
    void looksUpEmbeddings() {
        short[] table = new short[5 * WIDTH];
        for (int i = 0; i < table.length; i++) {
            int row = i / WIDTH;
            table[i] = Numbers.toBfloat(row + (i % WIDTH) / 128f);
        }
        DeviceMemory out = device.poisoned(4L * TOKENS * WIDTH);
        backend.embedding(
                device.halves(table),
                DType.BFLOAT16,
                5,
                device.ints(4, 0, 2),
                HeadRows.of(out, DType.FLOAT32, 1, WIDTH),
                TOKENS,
                1.5f);

        float[] got = device.readFloats(out, TOKENS * WIDTH);
        int[] ids = {4, 0, 2};
        for (int i = 0; i < got.length; i++) {
            assertThat(got[i])
                    .as("element %d", i)
                    .isEqualTo(1.5f * Numbers.bfloat(table[ids[i / WIDTH] * WIDTH + i % WIDTH] & 0xFFFF));
        }
    }

    @Test
    void samplesGreedilyAndByChance() {
        float[] logits = {
            0,
            3,
            1,
            3, /**/
            0,
            0,
            0,
            0, /**/
            (float) Math.log(0.5),
            (float) Math.log(0.3),
            (float) Math.log(0.15),
            (float) Math.log(0.05)
        };
        DeviceMemory ids = device.poisoned(12);
        ByteBuffer sampling = Device.buffer(48);
        put(sampling, 0, 1, 0, 0.9f); // greedy: the lowest of the equals
        put(sampling, 1, 1, 0, 0.6f); // 0.6 lies in the third of four equal parts
        put(sampling, 1, 0.75f, 0, 0.99f); // of 0.5 and 0.3, which reach 0.75, the second
        DeviceMemory parameters = backend.allocate(48);
        backend.upload(sampling.flip(), parameters, 0);
        backend.sample(device.rows(logits, 1, 4), parameters, ids, 3);

        assertThat(device.readInts(ids, 3)).containsExactly(1, 2, 1);
    }

    private static void put(ByteBuffer sampling, float temperature, float topP, int topK, float uniform) {
        sampling.putFloat(temperature).putFloat(topP).putInt(topK).putFloat(uniform);
    }
}
