package dev.kv8.llm;

import java.time.Duration;

/** The thread that steps an engine while there is something to do. It is a daemon: a process may end without closing its model. */
final class EngineThread implements AutoCloseable {
    private static final System.Logger LOG = System.getLogger(LLM.class.getName());
    /** How long to leave transfers alone; what comes meanwhile is taken in at once. */
    private static final Duration TRANSFER = Duration.ofNanos(100_000);

    private static final Duration LONG = Duration.ofMinutes(1);

    private final Engine engine;
    private final Intake intake;
    private final Thread thread;

    EngineThread(Engine engine, Intake intake) {
        this.engine = engine;
        this.intake = intake;
        thread = new Thread(this::run, "kv8-engine");
        thread.setDaemon(true);
        thread.start();
    }

    private void run() {
        while (!intake.isClosed()) {
            try {
                switch (engine.step()) {
                    case ADVANCED -> {}
                    case TRANSFERRING -> intake.await(TRANSFER);
                    case IDLE -> intake.await(LONG);
                }
            } catch (InterruptedException e) {
                // Nobody has this thread, so nobody interrupts it on purpose.
                LOG.log(System.Logger.Level.DEBUG, "The engine's thread was interrupted; it goes on.");
            } catch (Throwable e) {
                LOG.log(System.Logger.Level.ERROR, "The engine failed and takes no more requests.", e);
                engine.die(e);
                return;
            }
        }
        engine.cancelAll();
    }

    /** Ends what runs as cancelled, after the step under way. */
    @Override
    public void close() {
        intake.close();
        boolean interrupted = false;
        while (thread.isAlive()) {
            try {
                thread.join();
            } catch (InterruptedException e) {
                interrupted = true;
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }
}
