package dev.kv8.llm;

import dev.kv8.CapturedGraph;
import dev.kv8.DeviceInfo;
import dev.kv8.DeviceMemory;
import dev.kv8.KvBackend;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.Set;

/**
 * An emulated GPU whose memory the processor can't reach, as that of a real one, and that counts waits: how often something was
 * waited for while kernels or copies might run.
 */
final class DistantBackend {
    private static final Set<String> WAITS = Set.of("synchronize", "upload", "download");
    private static final Set<String> NO_KERNELS =
            Set.of("info", "hostView", "view", "allocate", "allocateHost", "attentionPlan", "capturesGraphs", "close");

    private final KvBackend backend;
    private final KvBackend proxy;
    private final Set<DeviceMemory> host = Collections.newSetFromMap(new IdentityHashMap<>());
    private boolean busy;
    private boolean capturing;
    private int waits;
    private int calls;
    private int launches;

    DistantBackend(KvBackend backend) {
        this.backend = backend;
        proxy = (KvBackend) Proxy.newProxyInstance(
                KvBackend.class.getClassLoader(), new Class<?>[] {KvBackend.class}, (self, method, arguments) -> {
                    count(method.getName());
                    if (method.getName().equals("hostView") && !host.contains((DeviceMemory) arguments[0])) {
                        throw new IllegalArgumentException("The host cannot read memory of the device.");
                    }
                    try {
                        if (method.getName().equals("capture")) {
                            return capture((Runnable) arguments[0]);
                        }
                        Object result = method.invoke(this.backend, arguments);
                        if (method.getName().equals("allocateHost")) {
                            host.add((DeviceMemory) result);
                        }
                        return method.getName().equals("info") ? distant((DeviceInfo) result) : result;
                    } catch (InvocationTargetException e) {
                        throw e.getCause();
                    }
                });
    }

    /** The calls of a capture are not on their way to the device; a launch is one call. */
    private CapturedGraph capture(Runnable calls) {
        capturing = true;
        CapturedGraph graph;
        try {
            graph = backend.capture(calls);
        } finally {
            capturing = false;
        }
        return new CapturedGraph() {
            @Override
            public boolean isCurrent() {
                return graph.isCurrent();
            }

            @Override
            public void launch() {
                count("launch");
                launches++;
                graph.launch();
            }

            @Override
            public void close() {
                graph.close();
            }
        };
    }

    private void count(String method) {
        if (capturing || method.equals("capture")) {
            return;
        }
        if (WAITS.contains(method)) {
            waits += busy || !method.equals("synchronize") ? 1 : 0;
            busy = false;
        } else if (!NO_KERNELS.contains(method)) {
            busy = true;
            calls++;
        }
    }

    private static DeviceInfo distant(DeviceInfo info) {
        return new DeviceInfo(
                info.backend(),
                info.ordinal(),
                info.name(),
                info.arch(),
                info.memoryBytes(),
                info.freeBytes(),
                info.allocatedBytes(),
                info.storable(),
                info.nativeFp8(),
                info.threads(),
                false,
                info.driver());
    }

    KvBackend backend() {
        return proxy;
    }

    /** Waits for work under way, since the device was opened. */
    int waits() {
        return waits;
    }

    /** Graphs launched. */
    int launches() {
        return launches;
    }

    /** Kernels, copies and graphs put on the device. */
    int calls() {
        return calls;
    }
}
