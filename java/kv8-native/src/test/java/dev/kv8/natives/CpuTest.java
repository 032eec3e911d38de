package dev.kv8.natives;

import dev.kv8.KvBackend;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;

/** A test with an open backend: the CPU, or what a subclass opens. */
abstract class CpuTest {
    KvBackend backend;
    Device device;

    @BeforeEach
    void open() {
        backend = openBackend();
        device = new Device(backend);
    }

    KvBackend openBackend() {
        return new NativeBackendProvider().open("cpu");
    }

    @AfterEach
    void close() {
        backend.close();
    }
}
