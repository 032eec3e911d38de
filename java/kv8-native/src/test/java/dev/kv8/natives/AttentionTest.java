package dev.kv8.natives;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.kv8.AttentionOptions;
import dev.kv8.AttentionPlan;
import dev.kv8.ChannelScales;
import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.Fp8Format;
import dev.kv8.HeadRows;
import java.util.Random;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** A mixed batch through write, plan and attend: a decode step, a chunk of a prefill and an empty sequence. */
class AttentionTest extends CpuTest {
    private static final int KV_HEADS = 2;
    private static final int Q_HEADS = 6;
    private static final int HEAD_SIZE = 80;
    private static final int BLOCK_SIZE = 8;
    private static final int[] LENGTHS = {21, 13, 0};
    private static final int[] QUERIES = {1, 5, 0};
    private static final int TOTAL = 6;
    /** Block tables; what no key occupies is an id that must not be followed. */
    private static final int[][] TABLES = {{4, 1, 6}, {0, 5, 1 << 30}, {-7, -7, -7}};

    private static final float SCALE = 0.01f;

    record Case(String name, int window, float softcap, boolean sinks, boolean alibi) {
        @Override
        public String toString() {
            return name;
        }
    }

    static Stream<Case> cases() {
        return Stream.of(
                new Case("plain", 0, 0, false, false),
                new Case("window", 6, 0, false, false),
                new Case("softcap", 0, 2, false, false),
                new Case("sinks", 0, 0, true, false),
                new Case("ALiBi", 0, 0, false, true),
                new Case("all", 9, 3, true, true));
    }

    @ParameterizedTest
    @MethodSource("cases")
    void attendsAsFloat64Does(Case c) {
        long seed = 51;
        Random random = new Random(seed);
        DeviceMemory scale = device.floats(SCALE);
        ChannelScales perTensor = new ChannelScales(scale, 0, 0);
        CacheLayer layer = CacheLayer.of(
                backend, DType.E4M3FN, DType.E4M3FN, 7, BLOCK_SIZE, KV_HEADS, HEAD_SIZE, false, perTensor, perTensor);
        float[][][][] kv = fill(layer, random);
        float[] q = Numbers.gaussian(random, TOTAL * Q_HEADS * HEAD_SIZE);
        float[] sinks = c.sinks() ? Numbers.gaussian(random, Q_HEADS) : null;
        float[] slopes = c.alibi() ? new float[] {0.5f, 0.25f, 0.1f, 0.3f, 0.7f, 0.01f} : null;
        float softmaxScale = (float) (1 / Math.sqrt(HEAD_SIZE));
        AttentionOptions options =
                new AttentionOptions(softmaxScale, c.window(), c.softcap(), optional(sinks), optional(slopes));

        DeviceMemory out = device.poisoned(4L * q.length);
        DeviceMemory lse = device.poisoned(4L * TOTAL * Q_HEADS);
        try (AttentionPlan plan = plan()) {
            attend(layer, plan, q, out, lse, options);
        }

        AttentionReference reference = new AttentionReference(softmaxScale, c.window(), c.softcap(), sinks, slopes);
        float[] got = device.readFloats(out, q.length);
        float[] gotLse = device.readFloats(lse, TOTAL * Q_HEADS);
        int row = 0;
        for (int sequence = 0; sequence < LENGTHS.length; sequence++) {
            for (int query = 0; query < QUERIES[sequence]; query++, row++) {
                int position = LENGTHS[sequence] - QUERIES[sequence] + query;
                for (int head = 0; head < Q_HEADS; head++) {
                    int start = (row * Q_HEADS + head) * HEAD_SIZE;
                    int kvHead = head / (Q_HEADS / KV_HEADS);
                    double[] expected = reference.row(
                            q,
                            start,
                            head,
                            kv[0][sequence * KV_HEADS + kvHead],
                            kv[1][sequence * KV_HEADS + kvHead],
                            position,
                            HEAD_SIZE);
                    for (int d = 0; d < HEAD_SIZE; d++) {
                        assertThat((double) got[start + d])
                                .as("seed %d, row %d, head %d, element %d", seed, row, head, d)
                                .isCloseTo(expected[d], within(1e-5));
                    }
                    assertThat((double) gotLse[row * Q_HEADS + head])
                            .as("seed %d, lse of row %d, head %d", seed, row, head)
                            .isCloseTo(expected[HEAD_SIZE], within(1e-5));
                }
            }
        }
    }

    @Test
    void growsItsPlanAndUsesItAgain() {
        CacheLayer layer = CacheLayer.plain(backend, DType.FLOAT32, 7, BLOCK_SIZE, KV_HEADS, HEAD_SIZE);
        fill(layer, new Random(52));
        float[] q = Numbers.gaussian(new Random(53), TOTAL * Q_HEADS * HEAD_SIZE);
        AttentionOptions options = AttentionOptions.causal(HEAD_SIZE);
        DeviceMemory fresh = device.poisoned(4L * q.length);
        DeviceMemory reused = device.poisoned(4L * q.length);
        try (AttentionPlan plan = backend.attentionPlan(Q_HEADS, KV_HEADS, HEAD_SIZE)) {
            plan.update(0, device.ints(0), device.ints(0));
            update(plan);
            attend(layer, plan, q, fresh, null, options);
            int[] many = new int[1000];
            plan.update(999, device.ints(many), device.ints(many));
            update(plan);
            attend(layer, plan, q, reused, null, options);
        }
        assertThat(device.readFloats(reused, q.length)).isEqualTo(device.readFloats(fresh, q.length));
    }

    @Test
    void joinsDisjointKeys() {
        float[] a = {1, 2, 3, 4};
        float[] b = {5, 6, 7, 8};
        DeviceMemory lse = device.poisoned(8);
        DeviceMemory out = device.poisoned(16);
        backend.mergeStates(
                device.rows(a, 2, 2),
                device.floats((float) Math.log(3), Float.NEGATIVE_INFINITY),
                device.rows(b, 2, 2),
                device.floats(0, 1),
                HeadRows.of(out, DType.FLOAT32, 2, 2),
                lse,
                1);

        float[] joined = device.readFloats(out, 4);
        assertThat(joined[0]).isCloseTo((3 * 1 + 5) / 4f, within(1e-6f));
        assertThat(joined[1]).isCloseTo((3 * 2 + 6) / 4f, within(1e-6f));
        assertThat(joined[2]).isEqualTo(7);
        assertThat(joined[3]).isEqualTo(8);
        assertThat(device.readFloats(lse, 2)[0]).isCloseTo((float) Math.log(4), within(1e-6f));
        assertThat(device.readFloats(lse, 2)[1]).isEqualTo(1);
    }

    private @Nullable DeviceMemory optional(float @Nullable [] values) {
        return values == null ? null : device.floats(values);
    }

    private AttentionPlan plan() {
        AttentionPlan plan = backend.attentionPlan(Q_HEADS, KV_HEADS, HEAD_SIZE);
        update(plan);
        return plan;
    }

    private void update(AttentionPlan plan) {
        plan.update(3, device.ints(0, 1, 6, 6), device.ints(LENGTHS));
    }

    private void attend(
            CacheLayer layer,
            AttentionPlan plan,
            float[] q,
            DeviceMemory out,
            @Nullable DeviceMemory lse,
            AttentionOptions options) {
        int[] table = Stream.of(TABLES).flatMapToInt(java.util.Arrays::stream).toArray();
        backend.attend(
                layer.view(),
                plan,
                device.ints(table),
                3,
                device.rows(q, Q_HEADS, HEAD_SIZE),
                HeadRows.of(out, DType.FLOAT32, Q_HEADS, HEAD_SIZE),
                lse,
                options);
    }

    /** Writes every sequence's K and V; returns what is stored, [k, v][sequence * heads + head][token][element]. */
    private float[][][][] fill(CacheLayer layer, Random random) {
        float[][][][] stored = new float[2][LENGTHS.length * KV_HEADS][][];
        boolean fp8 = layer.layout().k().dtype().isFp8();
        for (int sequence = 0; sequence < LENGTHS.length; sequence++) {
            int tokens = LENGTHS[sequence];
            float[][] written = {
                Numbers.gaussian(random, tokens * KV_HEADS * HEAD_SIZE),
                Numbers.gaussian(random, tokens * KV_HEADS * HEAD_SIZE)
            };
            long[] slots = new long[tokens];
            for (int token = 0; token < tokens; token++) {
                slots[token] = (long) TABLES[sequence][token / BLOCK_SIZE] * BLOCK_SIZE + token % BLOCK_SIZE;
            }
            backend.write(
                    layer.view(),
                    device.rows(written[0], KV_HEADS, HEAD_SIZE),
                    device.rows(written[1], KV_HEADS, HEAD_SIZE),
                    tokens,
                    device.longs(slots),
                    null,
                    null,
                    null);
            for (int side = 0; side < 2; side++) {
                for (int head = 0; head < KV_HEADS; head++) {
                    stored[side][sequence * KV_HEADS + head] = rows(written[side], tokens, head, fp8);
                }
            }
        }
        return stored;
    }

    private static float[][] rows(float[] written, int tokens, int head, boolean fp8) {
        float[][] rows = new float[tokens][HEAD_SIZE];
        for (int token = 0; token < tokens; token++) {
            for (int d = 0; d < HEAD_SIZE; d++) {
                float x = written[(token * KV_HEADS + head) * HEAD_SIZE + d];
                rows[token][d] = fp8 ? Fp8Format.E4M3FN.decode(Fp8Format.E4M3FN.encode(x / SCALE)) * SCALE : x;
            }
        }
        return rows;
    }
}
