package dev.kv8;

import java.nio.ByteBuffer;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicInteger;
import org.jspecify.annotations.Nullable;

/**
 * Host memory for one block on its way between pool and tiers. Several transfers may hold it; the last one gives it back. A transfer
 * that never ends keeps it for ever, out of everybody's way: that is the quarantine.
 */
final class Frame {
    private final FramePool home;
    private final ByteBuffer bytes;
    private final AtomicInteger holders = new AtomicInteger();

    /** Whether the header is right and the payload as tiers keep it; guarded by this. */
    private boolean sealed;

    /** What the payload is, and the form of its header; set while the frame has one holder. */
    private @Nullable BlockKey key;

    private @Nullable BlockFrame form;
    private int group;
    private int acceptedCrc;
    private boolean lent;

    Frame(FramePool home, int frameBytes) {
        this.home = home;
        this.bytes = ByteBuffer.allocateDirect(frameBytes);
    }

    /** From a free one; to be called by the pool. */
    Frame taken() {
        holders.set(1);
        sealed = false;
        return this;
    }

    /** One more holder; somebody else holds it. */
    void hold() {
        holders.incrementAndGet();
    }

    /** It is to be written to other tiers than it came from, which may take long; false when its home has lent enough. */
    boolean lend() {
        lent = home.lend();
        return lent;
    }

    void release() {
        int left = holders.decrementAndGet();
        if (left == 0) {
            boolean wasLent = lent;
            lent = false;
            home.giveBack(this, wasLent);
        } else if (left < 0) {
            throw new IllegalStateException("A frame was given back twice.");
        }
    }

    ByteBuffer whole() {
        return bytes.duplicate().clear();
    }

    ByteBuffer payload() {
        return bytes.duplicate().clear().position(BlockFrame.HEADER);
    }

    BlockKey key() {
        return Objects.requireNonNull(key, "the frame is empty");
    }

    /** Says what the payload is, of which group of layers, which has no header yet and is as the device keeps it. */
    synchronized void filled(BlockKey content, int itsGroup, BlockFrame itsForm) {
        key = content;
        group = itsGroup;
        form = itsForm;
        sealed = false;
    }

    /** Makes the header, unless it has been made; whoever comes first does it. */
    synchronized void seal(StoredCodes codes) {
        if (!sealed) {
            codes.toPortable(payload(), group);
            Objects.requireNonNull(form, "the frame is empty").seal(bytes, key());
            sealed = true;
        }
    }

    /** Checks what a store loaded. */
    synchronized BlockFrame.Verdict accept(int length, BlockKey wanted, BlockFrame itsForm) {
        int crc = BlockFrame.payloadCrc(bytes);
        BlockFrame.Verdict verdict = itsForm.check(whole(), length, wanted);
        if (verdict == BlockFrame.Verdict.INTACT) {
            acceptedCrc = crc;
            key = wanted;
            form = itsForm;
            sealed = true;
        }
        return verdict;
    }

    /** Of the payload as it was when it was accepted. */
    synchronized int acceptedCrc() {
        return acceptedCrc;
    }
}
