package dev.kv8.llm;

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
            Set.of("info", "hostView", "view", "allocate", "allocateHost", "attentionPlan", "close");

    private final KvBackend backend;
    private final KvBackend proxy;
    private final Set<DeviceMemory> host = Collections.newSetFromMap(new IdentityHashMap<>());
    private boolean busy;
    private int waits;
    private int calls;

    DistantBackend(KvBackend backend) {
        this.backend = backend;
        proxy = (KvBackend) Proxy.newProxyInstance(
                KvBackend.class.getClassLoader(), new Class<?>[] {KvBackend.class}, (self, method, arguments) -> {
                    count(method.getName());
                    if (method.getName().equals("hostView") && !host.contains((DeviceMemory) arguments[0])) {
                        throw new IllegalArgumentException("The host cannot read memory of the device.");
                    }
                    try {
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

    private void count(String method) {
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

    /** Kernels and copies put on the device. */
    int calls() {
        return calls;
    }
}
