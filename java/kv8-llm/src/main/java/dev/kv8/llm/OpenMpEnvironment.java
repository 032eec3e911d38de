package dev.kv8.llm;

import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.Loader;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerPointer;

/**
 * Lets oneDNN's threads sleep between products. Its OpenMP runtime (GNU's, in the same jar) keeps idle workers spinning, on
 * the cores that kv8's own workers need for the very next kernel: generation was five times slower so on two cores.
 *
 * <p>That runtime reads its settings from the environment when it is loaded, and Java can't set a variable of its own
 * process. So a copy of the environment with one more entry takes the place of the old one, which stays as it is for whoever
 * reads it at that moment.
 */
final class OpenMpEnvironment {
    private static final String WAIT_POLICY = "OMP_WAIT_POLICY";
    private static final String SPIN_COUNT = "GOMP_SPINCOUNT";

    private OpenMpEnvironment() {}

    /** Must run before oneDNN is loaded; leaves alone what the user has set. */
    static void letIdleWorkersSleep() {
        if (System.getenv(WAIT_POLICY) != null || System.getenv(SPIN_COUNT) != null) {
            return;
        }
        Loader.load(org.bytedeco.javacpp.presets.javacpp.class);
        Pointer symbol = Loader.addressof("environ");
        if (symbol != null) {
            append(new PointerPointer<>(symbol), WAIT_POLICY + "=passive");
        }
    }

    /** Neither the copy nor the entry is ever freed: the environment lives as long as the process. */
    private static void append(PointerPointer<Pointer> environ, String entry) {
        PointerPointer<Pointer> old = new PointerPointer<>(environ.get(0));
        int count = 0;
        while (old.get(count) != null) {
            count++;
        }
        PointerPointer<Pointer> copy =
                new PointerPointer<>(Pointer.malloc((count + 2L) * Loader.sizeof(Pointer.class)));
        for (int i = 0; i < count; i++) {
            copy.put(i, old.get(i));
        }
        byte[] bytes = (entry + "\0").getBytes(java.nio.charset.StandardCharsets.UTF_8);
        BytePointer text = new BytePointer(Pointer.malloc(bytes.length));
        text.put(bytes);
        copy.put(count, text);
        copy.put(count + 1, (Pointer) null);
        environ.put(0, copy);
    }
}
