package dev.kv8;

/** What a gated feed-forward layer does to its gate; see {@link KvBackend#gateMul}. */
public enum Activation {
    /** {@code x sigmoid(x)}. */
    SILU(0),
    /** {@code x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x³)))}. */
    GELU_TANH(1);

    private final int code;

    Activation(int code) {
        this.code = code;
    }

    /** Its number in {@code kv8.h}. */
    public int code() {
        return code;
    }
}
