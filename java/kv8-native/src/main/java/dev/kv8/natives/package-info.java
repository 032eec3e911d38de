/**
 * The kernels behind {@link dev.kv8.KvBackend}: loads the JNI library and the GPU plug-ins, chooses a backend, and hands
 * calls over to {@code kv8.h}. {@link dev.kv8.natives.NativeDiagnostics} says what was found and why something is not used.
 */
@NullMarked
package dev.kv8.natives;

import org.jspecify.annotations.NullMarked;
