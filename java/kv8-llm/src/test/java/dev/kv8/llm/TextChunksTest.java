package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import org.junit.jupiter.api.Test;

class TextChunksTest {
    /** Runs when it is told to, so a test decides when the subscriber is called. */
    private final Deque<Runnable> tasks = new ArrayDeque<>();

    private final TextChunks chunks = new TextChunks(2, tasks::add);

    private void run() {
        while (!tasks.isEmpty()) {
            tasks.remove().run();
        }
    }

    private void add(int index, String text) {
        chunks.add(index, text, 0, text.length(), null, null);
    }

    @Test
    void joinsWhatWasNotRequestedYet() {
        Recorder recorder = new Recorder(0);
        chunks.subscribe(recorder);
        add(0, "In ");
        add(1, "And ");
        add(0, "the ");
        chunks.add(0, "beginning", 0, 3, null, FinishReason.LENGTH);
        run();
        assertThat(recorder.soFar()).isEmpty();
        recorder.request(1);
        run();
        assertThat(recorder.soFar()).containsExactly(new TextChunk(0, "In the beg", List.of(), FinishReason.LENGTH));
        recorder.request(5);
        run();
        assertThat(recorder.soFar()).hasSize(2).last().isEqualTo(new TextChunk(1, "And ", List.of(), null));
        chunks.end(null);
        run();
        assertThat(recorder.all()).hasSize(2);
    }

    @Test
    void aLateSubscriberGetsAllFromTheBeginning() {
        add(0, "In the ");
        add(0, "beginning");
        chunks.end(null);
        Recorder recorder = new Recorder(Long.MAX_VALUE);
        chunks.subscribe(recorder);
        run();
        assertThat(Recorder.text(recorder.all(), 0)).isEqualTo("In the beginning");
    }

    @Test
    void nothingIsAddedForATokenWithoutText() {
        Recorder recorder = new Recorder(Long.MAX_VALUE);
        chunks.subscribe(recorder);
        add(0, "");
        run();
        assertThat(recorder.soFar()).isEmpty();
    }

    @Test
    void theErrorComesAfterTheText() {
        add(0, "In");
        chunks.end(new IllegalStateException("lost"));
        Recorder recorder = new Recorder(0);
        chunks.subscribe(recorder);
        run();
        assertThat(recorder.soFar()).isEmpty();
        recorder.request(1);
        run();
        assertThat(recorder.soFar()).hasSize(1);
        assertThatThrownBy(recorder::all).hasMessageContaining("lost");
    }

    @Test
    void thereIsOneSubscriber() {
        chunks.subscribe(new Recorder(1));
        Recorder second = new Recorder(1);
        chunks.subscribe(second);
        assertThatThrownBy(second::all).hasMessageContaining("have a subscriber already");
    }

    @Test
    void aCancelledSubscriptionGetsNothingMore() {
        Recorder recorder = new Recorder(Long.MAX_VALUE);
        chunks.subscribe(recorder);
        add(0, "In");
        run();
        recorder.cancel();
        add(0, " the");
        chunks.end(null);
        run();
        assertThat(recorder.soFar()).hasSize(1);
    }

    @Test
    void refusesARequestForNothing() {
        Recorder recorder = new Recorder(0);
        chunks.subscribe(recorder);
        recorder.request(0);
        run();
        assertThatThrownBy(recorder::all).hasMessageContaining("requested 0 chunks");
    }
}
