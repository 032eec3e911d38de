package dev.kv8;

import java.util.Arrays;
import java.util.Locale;
import java.util.stream.Collectors;

/** What a cache stores K and V in, by the names that vLLM's {@code kv_cache_dtype} has. */
public enum KvCacheDType {
    /** The model's own type. */
    AUTO("auto"),
    /** The same as {@link #FP8_E4M3}. */
    FP8("fp8"),
    FP8_E4M3("fp8_e4m3"),
    FP8_E5M2("fp8_e5m2"),
    BFLOAT16("bfloat16"),
    FLOAT16("float16"),
    FLOAT32("float32");

    private final String label;

    KvCacheDType(String label) {
        this.label = label;
    }

    /**
     * Reads a name in any case.
     *
     * @throws IllegalArgumentException naming the allowed ones
     */
    public static KvCacheDType parse(String name) {
        String wanted = name.strip().toLowerCase(Locale.ROOT);
        for (KvCacheDType dtype : values()) {
            if (dtype.label.equals(wanted)) {
                return dtype;
            }
        }
        String allowed = Arrays.stream(values()).map(KvCacheDType::label).collect(Collectors.joining(", "));
        throw new IllegalArgumentException(
                "\"" + name + "\" is not a KV cache dtype; the allowed ones are " + allowed + ".");
    }

    /** The lower-case name that {@link #parse} takes. */
    public String label() {
        return label;
    }

    /** The type of the stored elements in a cache for a model of type {@code modelType}. */
    public DType resolve(DType modelType) {
        return switch (this) {
            case AUTO -> modelType;
            case FP8, FP8_E4M3 -> DType.E4M3FN;
            case FP8_E5M2 -> DType.E5M2;
            case BFLOAT16 -> DType.BFLOAT16;
            case FLOAT16 -> DType.FLOAT16;
            case FLOAT32 -> DType.FLOAT32;
        };
    }

    /** Whether it is stored as FP8, whatever the model computes in. */
    public boolean isFp8() {
        return this == FP8 || this == FP8_E4M3 || this == FP8_E5M2;
    }

    @Override
    public String toString() {
        return label;
    }
}
