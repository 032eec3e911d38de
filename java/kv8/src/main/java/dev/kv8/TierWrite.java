package dev.kv8;

import dev.kv8.BlockTransfer.Outcome;
import dev.kv8.TierCounters.Kind;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.jspecify.annotations.Nullable;

/** Some frames on their way into a tier. */
final class TierWrite implements BlockTransfer.Listener {
    private final Tier tier;
    private final List<Frame> frames;
    private final long deadlineNanos;
    private final AtomicInteger left;
    private final AtomicBoolean judged = new AtomicBoolean();
    private volatile boolean failed;
    private TierTransferEvent.@Nullable Store event;
    private final AtomicInteger moved = new AtomicInteger();
    private final AtomicLong movedBytes = new AtomicLong();

    TierWrite(Tier tier, List<Frame> frames, long deadlineNanos) {
        this.tier = tier;
        this.frames = frames;
        this.deadlineNanos = deadlineNanos;
        this.left = new AtomicInteger(frames.size());
    }

    void run() {
        if (CacheRecording.isOn()) {
            event = new TierTransferEvent.Store();
            event.begin();
        }
        frames.forEach(frame -> frame.seal(tier.codes()));
        BlockTransfer transfer = new BlockTransfer(
                frames.stream().map(Frame::key).toList(),
                frames.stream().map(frame -> frame.whole().asReadOnlyBuffer()).toList(),
                deadlineNanos,
                this);
        try {
            tier.store().store(transfer);
        } catch (RuntimeException e) {
            transfer.failRest(e);
        }
    }

    @Override
    public void completed(BlockTransfer transfer, int index, Outcome outcome, int bytes, @Nullable Throwable cause) {
        Frame frame = frames.get(index);
        try {
            switch (outcome) {
                case DONE -> {
                    tier.counters().add(Kind.STORED, 1);
                    tier.counters().add(Kind.STORED_BYTES, frame.whole().limit());
                    moved.incrementAndGet();
                    movedBytes.addAndGet(frame.whole().limit());
                }
                case REFUSED, ABSENT -> tier.counters().add(Kind.REFUSED, 1);
                case FAILED -> {
                    failed = true;
                    tier.counters().trouble(Kind.FAILED, 1, "a write failed: ", String.valueOf(cause));
                }
            }
        } finally {
            tier.letGo(frame);
            if (left.decrementAndGet() == 0) {
                if (event != null) {
                    event.end(tier.store().name(), frames.size(), moved.get(), movedBytes.get(), failed);
                }
                tier.written(this);
                if (judged.compareAndSet(false, true)) {
                    tier.judge(!failed);
                }
            }
        }
    }

    @Override
    public void repeated(BlockTransfer transfer, int index) {
        tier.counters().trouble(Kind.REPEATED, 1, "it completed a block twice", "");
    }

    /** Of one that is under way. */
    boolean isLate() {
        return judged.get();
    }

    /** Counts it as late once its deadline has passed. */
    void checkDeadline(long nanoTime) {
        if (nanoTime - deadlineNanos > 0 && judged.compareAndSet(false, true)) {
            tier.counters().trouble(Kind.LATE, left.get(), "a write was not done at its deadline", "");
            tier.judge(false);
        }
    }
}
