package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.kv8.ByteSize;
import dev.kv8.DeviceException;
import dev.kv8.PreemptionPolicy;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.Test;

/** A step, a request or the device fails: who hears of it, and what goes on. */
class EngineFailuresTest extends SteppedEngine {
    @Test
    void aStepThatFailsEndsItsRequestsAndTheOthersGoOn() {
        for (String kernel : new String[] {"sample", "attend", "embedding"}) {
            FailingBackend failing = new FailingBackend(backend);
            try (LLM llm = builder(failing.backend()).maxSequences(2).build()) {
                Generation first = llm.submit(request(PROMPT, sampled(20)));
                Generation second = llm.submit(request(TinyModel.prompts().get(2), sampled(20)));
                Generation third = llm.submit(request(PROMPT, sampled(20)));
                Recorder recorder = new Recorder(Long.MAX_VALUE);
                first.chunks().subscribe(recorder);
                failing.failOnce(kernel, kernel.equals("attend") ? 6 * 4 + 2 : 4);
                finish(llm);
                for (Generation generation : List.of(first, second)) {
                    assertThatThrownBy(() -> done(generation))
                            .as(kernel)
                            .hasCauseInstanceOf(DeviceException.class)
                            .hasMessageContaining(kernel + " has failed");
                }
                assertThatThrownBy(recorder::all).hasMessageContaining(kernel + " has failed");
                assertThat(done(third).get(0).tokenIds())
                        .as(kernel)
                        .isEqualTo(alone(request(PROMPT, sampled(20))).get(0).tokenIds());
                assertThat(llm.stats().failedRequests()).isEqualTo(2);
                assertThat(llm.stats().finishedRequests()).isEqualTo(1);
                assertAllGivenBack(llm);
            }
        }
    }

    @Test
    void whatOneRequestAsksForFailsNoOtherOfItsStep() {
        GenerationRequest other =
                request(PROMPT, SamplingParams.builder().temperature(0).maxTokens(8));
        int[] expected = alone(other).get(0).tokenIds();
        for (SamplingParams.Builder extreme : List.of(
                sampled(8).topP(1e-50),
                sampled(8).topP(Float.MIN_VALUE),
                sampled(8).temperature(1e-50),
                sampled(8).minP(Double.MIN_VALUE),
                sampled(8).repetitionPenalty(1e-39),
                sampled(8).repetitionPenalty(Double.MIN_VALUE).temperature(0))) {
            try (LLM llm = builder().build()) {
                Generation odd = llm.submit(request("In the beginning God created", extreme));
                Generation plain = llm.submit(other);
                finish(llm);
                assertThat(done(plain).get(0).tokenIds()).isEqualTo(expected);
                assertThat(done(odd).get(0).tokenIds()).hasSize(8);
                assertThat(llm.stats().failedRequests()).isZero();
            }
        }
    }

    @Test
    void logitsThatAreNoNumbersFailTheRequestThatHasThem() {
        for (int row = 0; row < 3; row++) {
            FailingBackend failing = new FailingBackend(backend);
            try (LLM llm = builder(failing.backend()).build()) {
                List<GenerationRequest> asked = List.of(
                        request(PROMPT, sampled(8).logprobs(1)),
                        request("In the beginning God created", sampled(8)),
                        request(PROMPT, sampled(8).seed(12).repetitionPenalty(1.5)));
                List<Generation> all = asked.stream().map(llm::submit).toList();
                llm.engine().step();
                llm.engine().step();
                failing.poison(row);
                finish(llm);
                for (int i = 0; i < 3; i++) {
                    Generation one = all.get(i);
                    if (i == row) {
                        assertThatThrownBy(() -> done(one))
                                .hasCauseInstanceOf(IllegalStateException.class)
                                .hasMessageContaining("are not numbers");
                    } else {
                        assertThat(done(one).get(0).tokenIds())
                                .isEqualTo(alone(asked.get(i)).get(0).tokenIds());
                    }
                }
                assertThat(llm.stats().failedRequests()).isEqualTo(1);
                assertAllGivenBack(llm);
            }
        }
    }

    @Test
    void anEngineWhoseDeviceIsLostSaysSo() {
        FailingBackend failing = new FailingBackend(backend);
        try (LLM llm = builder(failing.backend()).maxSequences(1).build()) {
            Generation first = llm.submit(request(PROMPT, sampled(20)));
            Generation waiting = llm.submit(request(PROMPT, sampled(20)));
            llm.engine().step();
            failing.lose();
            llm.engine().step();
            for (Generation generation : List.of(first, waiting)) {
                assertThatThrownBy(() -> done(generation)).hasCauseInstanceOf(DeviceException.class);
            }
            assertThatIllegalStateException()
                    .isThrownBy(() -> llm.submit(request(PROMPT, sampled(2))))
                    .withMessageContaining("The engine is dead")
                    .withMessageContaining("the device is lost");
            assertThatThrownBy(llm::close).isInstanceOf(DeviceException.class);
        }
    }

    /** A request of four texts, of which some are in host memory, and one that waits. */
    private static List<Generation> swapped(LLM llm) {
        List<Generation> generations = List.of(
                llm.submit(request(TinyModel.prompts().get(9), sampled(40).n(4))),
                llm.submit(request(PROMPT, sampled(200))));
        while (llm.cache().swappedBytes() == 0) {
            assertThat(llm.engine().step()).isEqualTo(Engine.Progress.ADVANCED);
        }
        return generations;
    }

    private static LLM swapping(FailingBackend failing) {
        return builder(failing.backend())
                .kvCacheMemory(ByteSize.of(26 * BLOCK_BYTES))
                .preemption(PreemptionPolicy.always(PreemptionPolicy.Action.SWAP))
                .build();
    }

    @Test
    void requestsInHostMemoryEndWhenTheDeviceIsLost() {
        FailingBackend failing = new FailingBackend(backend);
        try (LLM llm = swapping(failing)) {
            List<Generation> generations = swapped(llm);
            failing.lose();
            failing.failOnce("attend", 0);
            llm.engine().step();
            for (Generation generation : generations) {
                assertThat(generation.completions())
                        .failsWithin(Duration.ofSeconds(60))
                        .withThrowableThat()
                        .withCauseInstanceOf(DeviceException.class);
            }
            assertThat(llm.stats().failedRequests()).isEqualTo(2);
            assertThat(llm.stats().waiting()).isZero();
            assertThat(llm.isAccepting()).isFalse();
            assertThatThrownBy(llm::close).isInstanceOf(DeviceException.class);
        }
    }

    @Test
    void closingEndsRequestsInHostMemoryOfADeviceThatIsLost() {
        FailingBackend failing = new FailingBackend(backend);
        try (LLM llm = swapping(failing)) {
            List<Generation> generations = swapped(llm);
            failing.lose();
            assertThatThrownBy(llm::close).isInstanceOf(DeviceException.class);
            assertThat(generations)
                    .allSatisfy(one -> assertThat(one.completions().handle((done, error) -> true))
                            .succeedsWithin(Duration.ofSeconds(60)));
        }
    }

    @Test
    void aCacheThatIsTakenElsewhereFailsTheRequestThatFindsNoRoom() {
        try (LLM llm = builder().kvCacheMemory(ByteSize.of(4 * BLOCK_BYTES)).build();
                var outside = llm.cache().open(new int[50]);
                var batch = llm.cache().batch()) {
            batch.add(outside);
            Generation generation = llm.submit(request(PROMPT, sampled(2)));
            finish(llm);
            assertThatThrownBy(() -> done(generation)).hasMessageContaining("opened on this cache elsewhere");
        }
    }
}
