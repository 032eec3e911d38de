package dev.kv8.llm;

import dev.kv8.KvBackend;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;

/** Tests on the CPU, which all of a class have open. */
abstract class CpuTest {
    static KvBackend backend;

    @BeforeAll
    static void openBackend() {
        backend = KvBackend.open("cpu");
    }

    @AfterAll
    static void closeBackend() {
        backend.close();
    }
}
