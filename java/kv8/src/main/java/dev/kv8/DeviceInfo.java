package dev.kv8;

import java.util.Set;

/**
 * What a backend runs on.
 *
 * @param backend "cpu", "cuda", "rocm"
 * @param ordinal which of the backend's devices
 * @param name the processor's model name
 * @param arch the kernels in use: an instruction set, sm_90, gfx942
 * @param memoryBytes of the device
 * @param freeBytes available when asked
 * @param allocatedBytes held by this backend now
 * @param storable element types that a cache may have here
 * @param nativeFp8 FP8 formats that the hardware converts
 * @param threads worker threads (CPU), else 0
 * @param hostAccessible whether {@link KvBackend#hostView} works on device memory
 * @param driver the device's driver with its version, as far as it tells; empty on the CPU
 */
public record DeviceInfo(
        String backend,
        int ordinal,
        String name,
        String arch,
        long memoryBytes,
        long freeBytes,
        long allocatedBytes,
        Set<DType> storable,
        Set<DType> nativeFp8,
        int threads,
        boolean hostAccessible,
        String driver) {}
