package dev.kv8.llm;

import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;

/**
 * What {@link KvBackend} has no kernel for and only some architectures need, computed in Java on memory that the processor can reach:
 * float32 rows of one head. Each call waits for the kernels that make its input.
 */
final class HostRows {
    private static final double SQRT_2_OVER_PI = Math.sqrt(2 / Math.PI);

    private final KvBackend backend;

    HostRows(KvBackend backend) {
        this.backend = backend;
    }

    /** {@code x *= factor}. */
    void scale(HeadRows x, int tokens, float factor) {
        backend.synchronize();
        for (int token = 0; token < tokens; token++) {
            FloatBuffer row = row(x, token);
            for (int i = 0; i < x.width(); i++) {
                row.put(i, row.get(i) * factor);
            }
        }
    }

    /** {@code out = gelu(gate) * up} with {@code gelu(x) = x/2 * (1 + tanh(sqrt(2/π) (x + 0.044715 x³)))}. */
    void geluMul(HeadRows gate, HeadRows up, HeadRows out, int tokens) {
        backend.synchronize();
        for (int token = 0; token < tokens; token++) {
            FloatBuffer gates = row(gate, token);
            FloatBuffer ups = row(up, token);
            FloatBuffer results = row(out, token);
            for (int i = 0; i < gate.width(); i++) {
                double x = gates.get(i);
                // (1 + tanh(y)) / 2 = 1 / (1 + exp(-2y)), and exp is much faster than tanh
                double y = SQRT_2_OVER_PI * (x + 0.044715 * x * x * x);
                results.put(i, (float) (x / (1 + Math.exp(-2 * y)) * ups.get(i)));
            }
        }
    }

    /** {@code x = cap * tanh(x / cap)}. */
    void softcap(HeadRows x, int tokens, float cap) {
        backend.synchronize();
        for (int token = 0; token < tokens; token++) {
            FloatBuffer row = row(x, token);
            for (int i = 0; i < x.width(); i++) {
                // tanh(y) = 1 - 2 / (exp(2y) + 1), exact enough in double to be rounded to float32
                row.put(i, (float) (cap * (1 - 2 / (Math.exp(2.0 * row.get(i) / cap) + 1))));
            }
        }
    }

    private FloatBuffer row(HeadRows rows, int token) {
        ByteBuffer bytes =
                backend.hostView(rows.memory(), rows.offset() + token * rows.tokenStride(), rows.width() * Float.BYTES);
        return bytes.order(ByteOrder.nativeOrder()).asFloatBuffer();
    }
}
