package dev.kv8;

import java.lang.management.GarbageCollectorMXBean;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.function.ToLongFunction;

/**
 * What a machine and its JVM do to a thread that has no cache: it sleeps for 100 us, reads the clock for 10 us, a short step's time, and so on,
 * beside what is measured. What holds it up is not a cache.
 */
final class IdleThread implements AutoCloseable {
    /** For runs that are not measured. */
    static final IdleThread NONE = new IdleThread(1);

    private static final long SLEEP_NANOS = 100_000;
    private static final long WORK_NANOS = 10_000;
    private static final ThreadMXBean THREADS = ManagementFactory.getThreadMXBean();

    private final Times late;
    private final Times clock;
    private final Times processor;
    private final long collections = collected(GarbageCollectorMXBean::getCollectionCount);
    private final long collectionMillis = collected(GarbageCollectorMXBean::getCollectionTime);
    private final Thread thread = new Thread(this::run, "idle");
    private volatile boolean ended;

    private IdleThread(int most) {
        late = new Times(most);
        clock = new Times(most);
        processor = new Times(most);
    }

    static IdleThread start() {
        IdleThread idle = new IdleThread(1 << 20);
        idle.thread.setDaemon(true);
        idle.thread.start();
        return idle;
    }

    private static long collected(ToLongFunction<GarbageCollectorMXBean> what) {
        return ManagementFactory.getGarbageCollectorMXBeans().stream()
                .mapToLong(what)
                .sum();
    }

    private void run() {
        while (!ended && !late.isFull()) {
            long slept = System.nanoTime();
            LockSupport.parkNanos(SLEEP_NANOS);
            long woken = System.nanoTime();
            long busy = THREADS.getCurrentThreadCpuTime();
            long start = System.nanoTime();
            long now = start;
            while (now - start < WORK_NANOS) {
                now = System.nanoTime();
            }
            processor.add(THREADS.getCurrentThreadCpuTime() - busy);
            clock.add(System.nanoTime() - start);
            late.add(Math.max(0, woken - slept - SLEEP_NANOS));
        }
    }

    /** Ends it, and says what it has seen. */
    String seen() {
        close();
        return "a thread without a cache woke late by: " + late + "; 10 us of its work took, by the clock: " + clock
                + "; by the processor: " + processor + "; garbage collections: "
                + (collected(GarbageCollectorMXBean::getCollectionCount) - collections) + " of "
                + (collected(GarbageCollectorMXBean::getCollectionTime) - collectionMillis) + " ms together";
    }

    @Override
    public void close() {
        ended = true;
        try {
            thread.join(TimeUnit.SECONDS.toMillis(20));
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
