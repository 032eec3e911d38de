package dev.kv8.llm;

import dev.kv8.CapturedGraph;
import dev.kv8.DeviceException;
import dev.kv8.DeviceMemory;
import dev.kv8.HeadRows;
import dev.kv8.KvBackend;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.nio.ByteBuffer;
import java.util.concurrent.atomic.AtomicInteger;

/** A backend whose kernels fail when they are told to. */
final class FailingBackend {
    private final KvBackend proxy;
    /** Calls of the kernel that still work; negative when all do. */
    private final AtomicInteger working = new AtomicInteger(-1);

    private volatile String failing = "";
    private volatile boolean lost;
    /** Row of logits to spoil before the next draw; negative for none. */
    private volatile int poisoned = -1;

    private volatile boolean broken;

    FailingBackend(KvBackend backend) {
        proxy = (KvBackend) Proxy.newProxyInstance(
                KvBackend.class.getClassLoader(), new Class<?>[] {KvBackend.class}, (self, method, arguments) -> {
                    if (method.getName().equals("allocateHost")) {
                        return freedUnlessLost((DeviceMemory) method.invoke(backend, arguments));
                    }
                    if (lost && method.getName().equals("synchronize")) {
                        throw new DeviceException("the device is lost");
                    }
                    if (method.getName().equals(failing) && working.getAndUpdate(left -> Math.max(-1, left - 1)) == 0) {
                        throw broken
                                ? new AssertionError(failing + " is broken")
                                : new DeviceException(failing + " has failed");
                    }
                    if (poisoned >= 0 && method.getName().equals("sample")) {
                        HeadRows logits = (HeadRows) arguments[0];
                        backend.upload(
                                ByteBuffer.allocateDirect(4).putInt(0, -1), // NaN in any byte order
                                logits.memory(),
                                logits.offset() + poisoned * logits.tokenStride());
                        poisoned = -1;
                    }
                    try {
                        Object result = method.invoke(backend, arguments);
                        return result instanceof CapturedGraph graph ? failing(graph) : result;
                    } catch (InvocationTargetException e) {
                        throw e.getCause();
                    }
                });
    }

    /** As with drivers that refuse every call once the device is lost; here it is freed all the same. */
    private DeviceMemory freedUnlessLost(DeviceMemory memory) {
        return DeviceMemory.owned(memory.address(), memory.bytes(), () -> {
            memory.close();
            if (lost) {
                throw new DeviceException("the device is lost, so its host memory can't be freed");
            }
        });
    }

    /** Its launches fail as kernels do, under the name of launch. */
    private CapturedGraph failing(CapturedGraph graph) {
        return new CapturedGraph() {
            @Override
            public boolean isCurrent() {
                return graph.isCurrent();
            }

            @Override
            public void launch() {
                if (failing.equals("launch") && working.getAndUpdate(left -> Math.max(-1, left - 1)) == 0) {
                    throw new DeviceException("launch has failed");
                }
                graph.launch();
            }

            @Override
            public void close() {
                graph.close();
            }
        };
    }

    KvBackend backend() {
        return proxy;
    }

    /** The kernel fails once, after so many calls that work. */
    void failOnce(String kernel, int after) {
        failing = kernel;
        working.set(after);
    }

    /** As {@link #failOnce}, but with an error that nobody expects. */
    void breakOnce(String kernel, int after) {
        broken = true;
        failOnce(kernel, after);
    }

    /** The next tokens are drawn from logits that are no numbers in one row. */
    void poison(int row) {
        poisoned = row;
    }

    /** From now on the device does not answer, and frees no host memory. */
    void lose() {
        lost = true;
    }
}
