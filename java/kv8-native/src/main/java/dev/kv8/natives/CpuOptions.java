package dev.kv8.natives;

import org.jspecify.annotations.Nullable;

/** The CPU backend's options, from system properties. */
final class CpuOptions {
    static final String THREADS = "kv.cpu.threads";
    static final String ISA = "kv.cpu.isa";

    private CpuOptions() {}

    /**
     * Worker threads, the caller included; 0: one for each core that the process may use, by its affinity and by its
     * container's quota of processor time ({@code cpu.max}), rounded up.
     */
    static int threads() {
        String value = System.getProperty(THREADS, "0").strip();
        try {
            int threads = Integer.parseInt(value);
            if (threads >= 0) {
                return threads;
            }
        } catch (NumberFormatException e) {
            // The message below says it.
        }
        throw new IllegalArgumentException(
                "-D" + THREADS + "=" + value + " is not a number of threads; give 1 or more, or 0 for one per core.");
    }

    /** The instruction set to use, or null for what {@code KV8_ISA} says or the best one. */
    static @Nullable String isa() {
        String value = System.getProperty(ISA);
        return value == null || value.isBlank() ? null : value.strip();
    }
}
