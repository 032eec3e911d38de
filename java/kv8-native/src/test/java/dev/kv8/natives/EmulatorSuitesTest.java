package dev.kv8.natives;

import dev.kv8.KvBackend;
import org.junit.jupiter.api.Disabled;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Test;

/** The CPU's tests, run once more on GPU kernels and their host code. */
class EmulatorSuitesTest {
    @Nested
    class CastOnGpuKernels extends CastTest {
        @Override
        KvBackend openBackend() {
            return OpenEmulator.of("sm_90");
        }
    }

    @Nested
    class AmaxOnGpuKernels extends AmaxTest {
        @Override
        KvBackend openBackend() {
            return OpenEmulator.of("sm_90");
        }
    }

    @Nested
    class CacheKernelsOnGpuKernels extends CacheKernelsTest {
        @Override
        KvBackend openBackend() {
            return OpenEmulator.of("sm_90");
        }
    }

    @Nested
    class AttentionOnGpuKernels extends AttentionTest {
        @Override
        KvBackend openBackend() {
            return OpenEmulator.of("sm_90");
        }
    }

    @Nested
    class EngineKernelsOnGpuKernels extends EngineKernelsTest {
        @Override
        KvBackend openBackend() {
            return OpenEmulator.of("sm_90");
        }
    }

    @Nested
    class RefusalsOnGpuKernels extends RefusalsTest {
        @Override
        KvBackend openBackend() {
            return OpenEmulator.of("sm_90");
        }

        @Test
        @Disabled("a GPU leaves out the offender alone; GpuKernelsTest looks at that")
        @Override
        void refusesSlotsOutsideTheCacheBeforeWriting() {}
    }

    @Nested
    class MemoryOnGpuKernels extends MemoryTest {
        @Override
        KvBackend openBackend() {
            return OpenEmulator.of("sm_90");
        }
    }

    @Nested
    class ClosedOnGpuKernels extends ClosedTest {
        @Override
        KvBackend openBackend() {
            return OpenEmulator.of("sm_90");
        }
    }

    @Nested
    class AllocationOnGpuKernels extends AllocationTest {
        @Override
        KvBackend openBackend() {
            return OpenEmulator.of("sm_90");
        }
    }
}
