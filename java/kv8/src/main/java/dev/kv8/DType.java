package dev.kv8;

/** The type of an element in memory. */
public enum DType {
    FLOAT32(0, "float32", 4),
    FLOAT16(1, "float16", 2),
    BFLOAT16(2, "bfloat16", 2),
    E4M3FN(3, "e4m3fn", 1),
    E5M2(4, "e5m2", 1),
    E4M3FNUZ(5, "e4m3fnuz", 1),
    E5M2FNUZ(6, "e5m2fnuz", 1);

    private final int code;
    private final String label;
    private final int bytes;

    DType(int code, String label, int bytes) {
        this.code = code;
        this.label = label;
        this.bytes = bytes;
    }

    /** The number that stands for this type in the C ABI ({@code kv8_dtype}). */
    public int code() {
        return code;
    }

    /** Bytes of one element. */
    public int bytes() {
        return bytes;
    }

    /** Whether it is one of the four types of 8 bits. */
    public boolean isFp8() {
        return bytes == 1;
    }

    /** The lower-case name, as the command line spells it. */
    public String label() {
        return label;
    }

    @Override
    public String toString() {
        return label;
    }
}
