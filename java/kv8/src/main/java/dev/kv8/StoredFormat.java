package dev.kv8;

import java.util.Set;

/**
 * What a device keeps a cache's FP8 values in. One whose hardware converts FNUZ only (AMD's gfx942) stores that, with doubled
 * scales: the codes are the same as OCP's but for NaN and -0, since kernels keep a cache's FNUZ codes within OCP's range.
 */
final class StoredFormat {
    private StoredFormat() {}

    static DType of(DType configured, DeviceInfo device) {
        Set<DType> converted = device.nativeFp8();
        DType fnuz = switch (configured) {
            case E4M3FN -> DType.E4M3FNUZ;
            case E5M2 -> DType.E5M2FNUZ;
            default -> configured;
        };
        return converted.contains(fnuz) && !converted.contains(configured) ? fnuz : configured;
    }

    /** What a scale of {@code configured} becomes in {@code stored}. */
    static float scaleFactor(DType configured, DType stored) {
        return configured == stored ? 1 : 2;
    }
}
