package dev.kv8.llm;

import dev.kv8.AttentionPlan;
import dev.kv8.DeviceMemory;
import dev.kv8.KvBackend;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Proxy;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Objects;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * A backend as late as a GPU may be: a kernel, copy or fill happens when something waits, no sooner. Who reads results or
 * changes inputs without waiting gets wrong numbers from it.
 */
final class LateBackend {
    private static final Set<String> WAITS = Set.of("synchronize", "upload", "download", "close", "view");
    private static final Set<String> AT_ONCE = Set.of("info", "hostView", "capturesGraphs");

    private final KvBackend backend;
    private final Deque<Runnable> pending = new ArrayDeque<>();

    private LateBackend(KvBackend backend) {
        this.backend = backend;
    }

    static KvBackend on(KvBackend backend) {
        LateBackend late = new LateBackend(backend);
        return (KvBackend) Proxy.newProxyInstance(
                KvBackend.class.getClassLoader(),
                new Class<?>[] {KvBackend.class},
                (proxy, method, arguments) -> late.call(method, arguments));
    }

    private @Nullable Object call(Method method, Object[] arguments) {
        switch (method.getName()) {
            case "allocate", "allocateHost" -> {
                DeviceMemory memory = (DeviceMemory) Objects.requireNonNull(invoke(method, arguments));
                return DeviceMemory.owned(memory.address(), memory.bytes(), () -> {
                    run();
                    memory.close();
                });
            }
            case "attentionPlan" -> {
                return new Plan((AttentionPlan) Objects.requireNonNull(invoke(method, arguments)));
            }
            case "attend" -> arguments[1] = ((Plan) arguments[1]).plan;
            default -> {}
        }
        if (WAITS.contains(method.getName())) {
            run();
        } else if (!AT_ONCE.contains(method.getName())) {
            pending.add(() -> invoke(method, arguments));
            return null;
        }
        return invoke(method, arguments);
    }

    private void run() {
        while (!pending.isEmpty()) {
            pending.removeFirst().run();
        }
    }

    private @Nullable Object invoke(Method method, Object[] arguments) {
        try {
            return method.invoke(backend, arguments);
        } catch (InvocationTargetException e) {
            if (e.getCause() instanceof RuntimeException cause) {
                throw cause;
            }
            throw new AssertionError(e);
        } catch (IllegalAccessException e) {
            throw new AssertionError(e);
        }
    }

    /** Made when its turn comes, from the arrays as they were when it was asked for. */
    private final class Plan implements AttentionPlan {
        final AttentionPlan plan;

        Plan(AttentionPlan plan) {
            this.plan = plan;
        }

        @Override
        public void update(int sequences, DeviceMemory queryStartLoc, DeviceMemory seqLens) {
            DeviceMemory starts = copy(queryStartLoc);
            DeviceMemory lengths = copy(seqLens);
            pending.add(() -> {
                plan.update(sequences, starts, lengths);
                starts.close();
                lengths.close();
            });
        }

        private DeviceMemory copy(DeviceMemory array) {
            int bytes = Math.toIntExact(array.bytes());
            DeviceMemory copy = backend.allocateHost(bytes);
            backend.hostView(copy, 0, bytes).put(backend.hostView(array, 0, bytes));
            return copy;
        }

        @Override
        public void close() {
            run();
            plan.close();
        }
    }
}
