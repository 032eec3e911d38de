package dev.kv8;

import java.lang.ref.WeakReference;
import java.util.concurrent.atomic.AtomicInteger;
import jdk.jfr.Category;
import jdk.jfr.DataAmount;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.FlightRecorder;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.Period;
import jdk.jfr.StackTrace;

/** {@link CacheStats} in a flight recording: of each open cache, once a period. */
@Name("dev.kv8.CacheStatistics")
@Label("KV Cache Statistics")
@Description("Blocks, sequences and prefix hits of a KV cache at one moment")
@Category("kv8")
@Period("1 s")
@StackTrace(false)
final class CacheStatisticsEvent extends Event {
    private static final AtomicInteger CACHES = new AtomicInteger();

    @Label("Cache")
    @Description("Counts the caches of this process that were ever recorded, from 1")
    int cache;

    @Label("Model")
    String model = "";

    @Label("Total Blocks")
    int totalBlocks;

    @Label("Free Blocks")
    @Description("That can be reserved, cached ones included")
    int freeBlocks;

    @Label("Cached Blocks")
    @Description("Free ones that still hold a prefix")
    int cachedBlocks;

    @Label("Held Blocks")
    int heldBlocks;

    @Label("Pinned Blocks")
    @Description("Of the held ones")
    int pinnedBlocks;

    @Label("Open Sequences")
    int openSequences;

    @Label("Stored Tokens")
    long storedTokens;

    @Label("Allocated Blocks")
    @Description("Since the cache was created")
    long allocatedBlocks;

    @Label("Copied Blocks")
    @Description("Since the cache was created")
    long copiedBlocks;

    @Label("Evicted Blocks")
    @Description("Since the cache was created")
    long evictedBlocks;

    @Label("Prefix Query Tokens")
    @Description("That sequences were opened with or asked for later, since the cache was created")
    long prefixQueryTokens;

    @Label("Prefix Hit Tokens")
    @Description("Of the queried tokens, those that need not be computed")
    long prefixHitTokens;

    @Label("Prefix Partial Tokens")
    @Description("Of the hits, those in copies of parts of blocks")
    long prefixPartialTokens;

    @Label("Saturated Values")
    @Description("As last counted on request")
    long saturatedValues;

    @Label("Pool Size")
    @DataAmount
    long poolBytes;

    /**
     * Makes recordings have the statistics of {@code board}; the result ends that. A board that is no longer referenced ends it too,
     * so an abandoned cache is not kept.
     */
    static Runnable record(StatsBoard board, String model) {
        Hook hook = new Hook(new WeakReference<>(board), model, CACHES.incrementAndGet());
        FlightRecorder.addPeriodicEvent(CacheStatisticsEvent.class, hook);
        return hook::end;
    }

    private static final class Hook implements Runnable {
        private final WeakReference<StatsBoard> board;
        private final String model;
        private final int number;

        Hook(WeakReference<StatsBoard> board, String model, int number) {
            this.board = board;
            this.model = model;
            this.number = number;
        }

        @Override
        public void run() {
            StatsBoard present = board.get();
            if (present == null) {
                end();
                return;
            }
            CacheStatisticsEvent event = new CacheStatisticsEvent();
            event.fill(present.read());
            event.cache = number;
            event.model = model;
            event.commit();
        }

        void end() {
            FlightRecorder.removePeriodicEvent(this);
        }
    }

    private void fill(CacheStats stats) {
        totalBlocks = stats.totalBlocks();
        freeBlocks = stats.freeBlocks();
        cachedBlocks = stats.cachedBlocks();
        heldBlocks = stats.usedBlocks();
        pinnedBlocks = stats.pinnedBlocks();
        openSequences = stats.openSequences();
        storedTokens = stats.storedTokens();
        allocatedBlocks = stats.allocatedBlocks();
        copiedBlocks = stats.copiedBlocks();
        evictedBlocks = stats.evictedBlocks();
        prefixQueryTokens = stats.prefixQueryTokens();
        prefixHitTokens = stats.prefixHitTokens();
        prefixPartialTokens = stats.prefixPartialTokens();
        saturatedValues = stats.saturatedValues();
        poolBytes = stats.poolBytes();
    }
}
