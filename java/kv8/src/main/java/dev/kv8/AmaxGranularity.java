package dev.kv8;

/** Over what {@link KvBackend#amax} takes a maximum; the shape of its float32 result. */
public enum AmaxGranularity {
    /** [1] */
    TENSOR,
    /** [heads] */
    HEAD,
    /** [heads][width] */
    CHANNEL,
    /** [tokens][heads] */
    ROW
}
