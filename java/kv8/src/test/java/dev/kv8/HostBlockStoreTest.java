package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import dev.kv8.BlockTransfer.Outcome;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/** What a tier in memory takes of it, and what it does when there is no more. */
class HostBlockStoreTest {
    private static final TestFrames FRAMES = new TestFrames(1000);

    private final List<Integer> asked = new ArrayList<>();
    private int given = Integer.MAX_VALUE;

    /** A store that takes memory two blocks at a time, from a machine that has {@link #given} such pieces. */
    private HostBlockStore store(int blocks) {
        ByteSize memory = ByteSize.of((long) blocks * FRAMES.frameBytes() + 17);
        HostBlockStore store =
                new HostBlockStore(memory, EvictionPolicyKind.LRU, 2 * FRAMES.frameBytes() + 5, this::allocate);
        store.prepare(FRAMES.frameBytes());
        return store;
    }

    private ByteBuffer allocate(int bytes) {
        asked.add(bytes);
        if (asked.size() > given) {
            throw new OutOfMemoryError("made up");
        }
        return ByteBuffer.allocateDirect(bytes);
    }

    @Test
    void itTakesNoMoreThanItsBlocksNeed() throws IOException {
        HostBlockStore store = store(5);
        for (int i = 0; i < 8; i++) {
            assertThat(FRAMES.store(store, i)).isEqualTo(Outcome.DONE);
            FRAMES.anotherPrompt(store);
        }
        assertThat(asked).containsExactly(2 * FRAMES.frameBytes(), 2 * FRAMES.frameBytes(), FRAMES.frameBytes());
        assertThat(store.blocks()).isEqualTo(5);
        for (int i = 3; i < 8; i++) {
            assertThat(FRAMES.load(store, i)).isTrue();
        }
    }

    @Test
    void aTierOfOneBlockTakesOne() {
        HostBlockStore store = store(1);
        assertThat(FRAMES.store(store, 1)).isEqualTo(Outcome.DONE);
        assertThat(asked).containsExactly(FRAMES.frameBytes());
    }

    @Test
    void itGoesOnWithWhatItGotWhenThereIsNoMore() throws IOException {
        given = 1;
        HostBlockStore store = store(100);
        for (int i = 0; i < 8; i++) {
            assertThat(FRAMES.store(store, i)).as("block %d", i).isEqualTo(Outcome.DONE);
            FRAMES.anotherPrompt(store);
        }
        assertThat(asked).as("not asked again at each write").hasSize(2);
        assertThat(store.blocks()).isEqualTo(2);
        assertThat(FRAMES.load(store, 5)).isNull();
        assertThat(FRAMES.load(store, 6)).isTrue();
        assertThat(FRAMES.load(store, 7)).isTrue();
    }

    @Test
    void itRefusesEverythingWhenItGotNothing() {
        given = 0;
        HostBlockStore store = store(100);
        for (int i = 0; i < 8; i++) {
            assertThat(FRAMES.store(store, i)).as("no failure of the tier").isEqualTo(Outcome.REFUSED);
        }
        assertThat(asked).hasSize(1);
        assertThat(store.blocks()).isZero();
    }
}
