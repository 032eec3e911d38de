package dev.kv8.natives;

import dev.kv8.KvBackend;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;

/** A test with an open CPU backend. */
abstract class CpuTest {
    KvBackend backend;
    Device device;

    @BeforeEach
    void open() {
        backend = new NativeBackendProvider().open("cpu");
        device = new Device(backend);
    }

    @AfterEach
    void close() {
        backend.close();
    }
}
