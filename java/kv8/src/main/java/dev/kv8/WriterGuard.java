package dev.kv8;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import org.jspecify.annotations.Nullable;

/**
 * Lets one thread at a time into a cache and refuses a second one, instead of making it wait: two writers are a mistake of the
 * caller. The thread may change between calls. A thread that closes a sequence while nobody is inside enters as reclaimer for
 * the few instructions that takes; a writer that comes then waits for it.
 */
final class WriterGuard {
    private static final Object RECLAIMER = new Object();
    private static final int SPINS_BEFORE_YIELD = 1000;
    private static final VarHandle USER;

    static {
        try {
            USER = MethodHandles.lookup().findVarHandle(WriterGuard.class, "user", Object.class);
        } catch (ReflectiveOperationException e) {
            throw new ExceptionInInitializerError(e);
        }
    }

    /** Null, the thread that is inside, or {@link #RECLAIMER}; by USER. */
    @SuppressWarnings("UnusedVariable")
    private volatile @Nullable Object user;

    /** Who is inside as reclaimer, for that thread only: a listener on it that calls the cache would wait for itself. */
    private @Nullable Thread reclaimer;

    /**
     * Enters as the writer.
     *
     * @throws IllegalStateException when another thread is inside
     */
    @SuppressWarnings("ThreadPriorityCheck") // yields to a reclaimer that lost its core in the middle
    void enter() {
        Thread thread = Thread.currentThread();
        int spins = 0;
        Object inside;
        while ((inside = USER.compareAndExchange(this, null, thread)) != null) {
            if (inside instanceof Thread other) {
                throw usedBy(other);
            }
            if (reclaimer == thread) {
                throw new IllegalStateException(
                        "Thread \"" + thread.getName() + "\" called this cache from a listener"
                                + " while it closes a sequence. A listener calls neither the cache nor its sequences and batches.");
            }
            if (++spins < SPINS_BEFORE_YIELD) {
                Thread.onSpinWait();
            } else {
                Thread.yield();
            }
        }
    }

    /**
     * Refuses as {@link #enter} does while another thread is inside, but does not enter: one read instead of an atomic operation. For
     * what touches nothing that a reclaimer does.
     */
    void check() {
        Object inside = USER.getAcquire(this);
        if (inside instanceof Thread other && other != Thread.currentThread()) {
            throw usedBy(other);
        }
    }

    private static IllegalStateException usedBy(Thread other) {
        return new IllegalStateException(
                "Thread \"" + Thread.currentThread().getName()
                        + "\" called this cache while thread \"" + other.getName()
                        + "\" is using it. One thread at a time drives a cache and its sequences and"
                        + " batches; only close() of sequences and pins, Sequence.cancel() and KvCache.stats() may be called from any thread.");
    }

    /** Enters for a moment to reclaim closed sequences; false when somebody is inside. */
    boolean tryEnterAsReclaimer() {
        boolean entered = USER.compareAndSet(this, null, RECLAIMER);
        if (entered) {
            reclaimer = Thread.currentThread();
        }
        return entered;
    }

    void exit() {
        reclaimer = null;
        USER.setRelease(this, null);
    }
}
