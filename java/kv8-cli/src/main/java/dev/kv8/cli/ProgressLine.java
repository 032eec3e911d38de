package dev.kv8.cli;

import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;

/** A bar with an estimate on standard error that long work redraws in place; silent when standard error is not a terminal. */
final class ProgressLine implements AutoCloseable {
    private static final int BAR = 30;
    private static final Path STANDARD_ERROR = Path.of("/proc/self/fd/2");

    private final PrintWriter err;
    private final String label;
    private final boolean visible;
    private final Thread endOfLine;
    private final RemainingTime remaining = new RemainingTime();
    private int shownPercent = -1;

    ProgressLine(PrintWriter err, String label) {
        this.err = err;
        this.label = label;
        this.visible = isTerminal();
        this.endOfLine = new Thread(err::println, "kv8-progress-end");
        if (visible) {
            // Ctrl-C leaves the shell's prompt on a line of its own.
            Runtime.getRuntime().addShutdownHook(endOfLine);
        }
    }

    private static boolean isTerminal() {
        try {
            String target = Files.readSymbolicLink(STANDARD_ERROR).toString();
            return target.startsWith("/dev/pts/") || target.startsWith("/dev/tty");
        } catch (IOException e) {
            return false;
        }
    }

    /** Shows that {@code done} of {@code total} is done. */
    void update(long done, long total) {
        if (!visible || total <= 0) {
            return;
        }
        int percent = (int) (100 * Math.min(done, total) / total);
        if (percent == shownPercent) {
            return;
        }
        shownPercent = percent;
        int filled = BAR * percent / 100;
        err.printf(
                "\r%s [%s%s] %3d %% %-" + RemainingTime.WIDTH + "s",
                label,
                "=".repeat(filled),
                " ".repeat(BAR - filled),
                percent,
                remaining.text(done, total, System.nanoTime()));
        err.flush();
    }

    /** Wipes the line, so that a result that follows stands alone. */
    @Override
    public void close() {
        if (!visible) {
            return;
        }
        Runtime.getRuntime().removeShutdownHook(endOfLine);
        err.print("\r" + " ".repeat(label.length() + BAR + 10 + RemainingTime.WIDTH) + "\r");
        err.flush();
    }
}
