package dev.kv8;

import jdk.jfr.Category;
import jdk.jfr.DataAmount;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;

/** What loads and stores have in common. Made per transfer, not per block; begun and committed on any two threads. */
@Category("kv8")
@StackTrace(false)
abstract sealed class TierTransferEvent extends Event {
    @Label("Tier")
    String tier = "";

    @Label("Blocks")
    @Description("That were asked for or offered")
    int blocks;

    @Label("Moved Blocks")
    int movedBlocks;

    @Label("Moved Bytes")
    @DataAmount
    long movedBytes;

    @Label("Failed")
    @Description("The store could not move a block; one that it has not is no failure")
    boolean failed;

    /** A sequence's blocks that a tier said to have. */
    @Name("dev.kv8.TierLoad")
    @Label("KV Tier Load")
    @Description("Blocks on their way from a tier, from the first request to the last answer")
    static final class Load extends TierTransferEvent {}

    /** Blocks that were written together. */
    @Name("dev.kv8.TierStore")
    @Label("KV Tier Store")
    @Description("Blocks on their way into a tier, checksums included")
    static final class Store extends TierTransferEvent {}

    /** Records it, for whoever sees the transfer's last block. */
    void end(String tierName, int asked, int moved, long bytes, boolean hasFailed) {
        end();
        if (shouldCommit()) {
            tier = tierName;
            blocks = asked;
            movedBlocks = moved;
            movedBytes = bytes;
            failed = hasFailed;
            commit();
        }
    }
}
