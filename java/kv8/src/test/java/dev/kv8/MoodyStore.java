package dev.kv8;

import java.io.IOException;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;

/** A store that serves as another one does, fails, or keeps its answers back, as it is told. */
final class MoodyStore extends NamedStore {
    enum Mood {
        GOOD,
        FAILING_LOOKUPS,
        FAILING_LOADS,
        /** Loads wait for {@link #answer}. */
        WITHHOLDING
    }

    private final Queue<BlockTransfer> withheld = new ConcurrentLinkedQueue<>();
    private volatile Mood mood = Mood.GOOD;

    MoodyStore(BlockStore kept) {
        super("moody", kept);
    }

    void becomes(Mood next) {
        mood = next;
    }

    @Override
    public int lookup(List<BlockKey> keys, long deadlineNanos) throws IOException {
        if (mood == Mood.FAILING_LOOKUPS) {
            throw new IOException("made up");
        }
        return super.lookup(keys, deadlineNanos);
    }

    @Override
    public void load(BlockTransfer transfer) {
        switch (mood) {
            case FAILING_LOADS -> throw new IllegalStateException("made up");
            case WITHHOLDING -> withheld.add(transfer);
            default -> super.load(transfer);
        }
    }

    /** Whether somebody waits for an answer. */
    boolean isAsked() {
        return !withheld.isEmpty();
    }

    /** Gives what it has kept back. */
    void answer() {
        for (BlockTransfer next = withheld.poll(); next != null; next = withheld.poll()) {
            super.load(next);
        }
    }
}
