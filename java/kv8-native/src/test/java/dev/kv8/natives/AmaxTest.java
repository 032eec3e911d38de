package dev.kv8.natives;

import static org.assertj.core.api.Assertions.assertThat;

import dev.kv8.AmaxGranularity;
import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class AmaxTest extends CpuTest {
    private static final int TOKENS = 7;
    private static final int HEADS = 3;
    private static final int WIDTH = 80;

    @ParameterizedTest
    @EnumSource(AmaxGranularity.class)
    void findsTheLargestMagnitude(AmaxGranularity granularity) {
        long seed = 21;
        float[] x = Numbers.gaussian(new Random(seed), TOKENS * HEADS * WIDTH);
        x[5] = Float.NaN;
        float[] expected = new float[resultSize(granularity)];
        for (int i = 0; i < x.length; i++) {
            int at = place(granularity, i / (HEADS * WIDTH), i / WIDTH % HEADS, i % WIDTH);
            expected[at] = Float.isNaN(x[i]) ? expected[at] : Math.max(expected[at], Math.abs(x[i]));
        }
        DeviceMemory out = device.poisoned(4L * expected.length);
        backend.amax(device.rows(x, HEADS, WIDTH), TOKENS, granularity, out, false);

        assertThat(device.readFloats(out, expected.length))
                .as("%s, seed %d", granularity, seed)
                .isEqualTo(expected);
    }

    @Test
    void accumulatesIntoWhatIsThere() {
        HeadRows x = device.rows(new float[] {1, -2, 3, -40}, 2, 2);
        DeviceMemory out = device.floats(10, 20);
        backend.amax(x, 1, AmaxGranularity.HEAD, out, true);

        assertThat(device.readFloats(out, 2)).containsExactly(10, 40);
    }

    @Test
    void followsStrides() {
        DeviceMemory memory = device.floats(9, 1, 2, 9, 9, -3, 4, 9);
        HeadRows middle = new HeadRows(memory, 4, DType.FLOAT32, 1, 2, 16, 8);
        DeviceMemory out = device.poisoned(8);
        backend.amax(middle, 2, AmaxGranularity.ROW, out, false);

        assertThat(device.readFloats(out, 2)).containsExactly(2, 4);
    }

    private static int resultSize(AmaxGranularity granularity) {
        return switch (granularity) {
            case TENSOR -> 1;
            case HEAD -> HEADS;
            case CHANNEL -> HEADS * WIDTH;
            case ROW -> TOKENS * HEADS;
        };
    }

    private static int place(AmaxGranularity granularity, int token, int head, int d) {
        return switch (granularity) {
            case TENSOR -> 0;
            case HEAD -> head;
            case CHANNEL -> head * WIDTH + d;
            case ROW -> token * HEADS + head;
        };
    }
}
