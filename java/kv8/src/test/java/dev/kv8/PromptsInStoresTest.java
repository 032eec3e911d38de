package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import dev.kv8.BlockTransfer.Outcome;
import java.io.IOException;
import java.nio.file.Path;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** A prompt's blocks come to a store one after the other from the head on, and leave it from the tail on: without its head, none is of use. */
class PromptsInStoresTest {
    private static final TestFrames FRAMES = new TestFrames(1000);

    @TempDir
    Path folder;

    private BlockStore open(boolean files, int blocks) throws IOException {
        ByteSize room = ByteSize.of((long) blocks * FRAMES.frameBytes());
        BlockStore store = files ? FileBlockStore.open(folder, room) : HostBlockStore.create(room);
        store.prepare(FRAMES.frameBytes());
        return store;
    }

    /** Each block by a transfer of its own, as large ones come. */
    private static void store(BlockStore store, int from, int to) {
        for (int i = from; i < to; i++) {
            assertThat(FRAMES.store(store, i)).isEqualTo(Outcome.DONE);
        }
    }

    private static int found(BlockStore store, int from, int to) throws IOException {
        return store.lookup(FRAMES.keys(from, to), TestFrames.soon());
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void ofAPromptThatIsLargerThanTheTierTheHeadStays(boolean files) throws IOException {
        BlockStore store = open(files, 50);
        store(store, 0, 60);
        assertThat(found(store, 0, 60)).isEqualTo(40);
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void thePromptThatWasUsedLongestAgoLosesItsTail(boolean files) throws IOException {
        BlockStore store = open(files, 20);
        store(store, 0, 10);
        FRAMES.anotherPrompt(store);
        store(store, 10, 20);
        assertThat(found(store, 0, 10)).isEqualTo(10);
        for (int i = 0; i < 10; i++) {
            assertThat(FRAMES.load(store, i)).isTrue();
        }
        FRAMES.anotherPrompt(store);
        store(store, 20, 23);
        assertThat(found(store, 0, 10)).isEqualTo(10);
        assertThat(found(store, 10, 20)).isEqualTo(7);
        assertThat(found(store, 20, 23)).isEqualTo(3);
        if (files) {
            BlockStore smaller = open(true, 16);
            assertThat(found(smaller, 20, 23)).as("after a restart").isEqualTo(3);
            assertThat(found(smaller, 0, 10)).isEqualTo(10);
            assertThat(found(smaller, 10, 20)).isEqualTo(3);
        }
    }
}
