package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** What an operator reads of a tier in trouble: each trouble once, however often it comes. */
class TierLogTest {
    private static final int[] PROMPT = TieredCache.prompt(1, 41); // five whole blocks, and one token to compute

    @RegisterExtension
    private final LogMessages log = new LogMessages();

    /** Host memory with one trouble at a time. */
    private static final class TroubledStore extends NamedStore {
        private enum Trouble {
            NONE,
            LOOKUP,
            STORE,
            LOAD,
            OTHER_KEY,
            OTHER_FORMAT
        }

        private final BlockStore kept;
        private volatile Trouble trouble = Trouble.NONE;

        TroubledStore(BlockStore kept) {
            super("troubled", kept);
            this.kept = kept;
        }

        @Override
        public int lookup(List<BlockKey> keys, long deadlineNanos) throws IOException {
            if (trouble == Trouble.LOOKUP) {
                throw new IOException("made up");
            }
            return kept.lookup(keys, deadlineNanos);
        }

        @Override
        public void store(BlockTransfer transfer) {
            if (trouble == Trouble.STORE) {
                transfer.failRest(null);
            } else {
                kept.store(transfer);
            }
        }

        @Override
        public void load(BlockTransfer transfer) {
            if (trouble == Trouble.LOAD) {
                transfer.failRest(null);
                return;
            }
            ByteBuffer frame = transfer.frame(0);
            kept.load(new BlockTransfer(
                    List.of(transfer.key(0)),
                    List.of(frame.duplicate()),
                    transfer.deadlineNanos(),
                    (one, index, outcome, bytes, cause) -> {
                        if (trouble == Trouble.OTHER_KEY) {
                            BlockFrameTest.reseal(frame.put(32, (byte) ~frame.get(32)));
                        } else if (trouble == Trouble.OTHER_FORMAT) {
                            BlockFrameTest.reseal(frame.put(16, (byte) ~frame.get(16)));
                        }
                        transfer.done(0, bytes);
                    }));
            transfer.failRest(null);
        }

        @Override
        public void forget(BlockKey key) {}
    }

    private long lines(String of) {
        return log.messages().stream().filter(line -> line.contains(of)).count();
    }

    @Test
    void eachTroubleIsToldOnce() {
        TroubledStore store = new TroubledStore(HostBlockStore.create(ByteSize.mib(16)));
        Tiers tiers = Tiers.builder()
                .add(store)
                .writtenOnFirstUse(true)
                .prefillTokensPerSecond(1)
                .build();
        try (TieredCache test = new TieredCache(12, tiers)) {
            test.serve(PROMPT);
            test.settle();
        }
        for (TroubledStore.Trouble trouble : TroubledStore.Trouble.values()) {
            store.trouble = trouble;
            // A cache for each, since three troubles in a row open the breaker; and then one for all.
            try (TieredCache test = new TieredCache(12, tiers)) {
                test.serve(PROMPT);
                test.settle();
                if (trouble == TroubledStore.Trouble.STORE) {
                    // The open breaker makes each further write wait for twice as long: those of two prompts are
                    // enough.
                    test.serve(TieredCache.prompt(2, 41));
                } else {
                    test.evictAll();
                    test.serve(PROMPT);
                }
                test.settle();
            }
            String told = switch (trouble) {
                case NONE -> "no such trouble";
                case LOOKUP -> "it can't be asked for blocks: java.io.IOException: made up.";
                case STORE -> "a write failed: null.";
                case LOAD -> "a load failed: null.";
                case OTHER_KEY -> "it gave back another block: for ";
                case OTHER_FORMAT -> "it has a block of another format, layout, type or scale: for ";
            };
            assertThat(lines(told))
                    .as("%s: %s", trouble, log.messages())
                    .isEqualTo(trouble == TroubledStore.Trouble.NONE ? 0 : 1);
            log.messages().clear();
        }
    }

    @Test
    void oneTroubleDoesNotHideAnotherOfItsKind() {
        TierCounters counters = new TierCounters("disk");
        counters.trouble(TierCounters.Kind.FAILED, 1, "it can't be asked for blocks: ", "first");
        counters.trouble(TierCounters.Kind.FAILED, 2, "it can't be asked for blocks: ", "second");
        counters.trouble(TierCounters.Kind.FAILED, 3, "a write failed: ", "third");
        assertThat(log.messages()).hasSize(2);
        assertThat(log.messages().get(0))
                .startsWith("Tier \"disk\": it can't be asked for blocks: first. Such blocks are computed again");
        assertThat(log.messages().get(1)).startsWith("Tier \"disk\": a write failed: third. Such blocks");
        assertThat(counters.stats(0, false).failed()).isEqualTo(6);
    }
}
