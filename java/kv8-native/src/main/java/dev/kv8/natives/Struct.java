package dev.kv8.natives;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.bytedeco.javacpp.Loader;
import org.bytedeco.javacpp.Pointer;

/**
 * Native memory for argument structs. It is a direct buffer and not allocated by JavaCPP, whose limit on physical memory
 * counts the KV pool and would refuse the allocation.
 */
final class Struct {
    private Struct() {}

    /** Zeroed memory of the struct's size; the wrapper made from it keeps it alive. */
    static Pointer zeroed(Class<? extends Pointer> type) {
        return new Pointer(ByteBuffer.allocateDirect(Loader.sizeof(type)).order(ByteOrder.nativeOrder()));
    }

    /** A null-terminated copy of {@code text}. */
    static Pointer text(byte[] utf8) {
        return new Pointer(ByteBuffer.allocateDirect(utf8.length + 1).put(utf8).rewind());
    }
}
