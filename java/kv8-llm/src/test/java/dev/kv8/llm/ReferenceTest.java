package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.kv8.Batch;
import dev.kv8.ByteSize;
import dev.kv8.HeadRows;
import dev.kv8.KvCache;
import dev.kv8.KvCacheConfig;
import dev.kv8.KvCacheDType;
import dev.kv8.Sequence;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;

/** The trained tiny model against its float32 reference. */
class ReferenceTest extends CpuTest {
    private static final SamplingParams GREEDY = SamplingParams.builder()
            .temperature(0)
            .maxTokens(64)
            .ignoreEos(true)
            .build();

    private static LLM llm(String dtype) {
        return LLM.builder()
                .model(TinyModel.FOLDER)
                .backend(backend)
                .kvCacheDType(dtype)
                .calculateKvScales(true)
                .kvCacheMemory(ByteSize.mib(16))
                .build();
    }

    private static List<Completion> continued(LLM llm) {
        return llm.generate(
                TinyModel.referencePrompts().stream()
                        .map(TinyModel.Prompt::text)
                        .toList(),
                GREEDY);
    }

    @Test
    void aFloat32CacheContinuesTokenForToken() {
        try (LLM llm = llm("float32")) {
            List<Completion> completions = continued(llm);
            for (int i = 0; i < completions.size(); i++) {
                TinyModel.Prompt prompt = TinyModel.referencePrompts().get(i);
                assertThat(completions.get(i).promptTokenIds()).isEqualTo(prompt.tokenIds());
                assertThat(completions.get(i).tokenIds()).isEqualTo(prompt.greedyIds());
                assertThat(completions.get(i).text()).isEqualTo(prompt.greedyText());
                assertThat(completions.get(i).finishReason()).isEqualTo(FinishReason.LENGTH);
            }
        }
    }

    /** Where the reference's two best tokens are closer than bfloat16's rounding, what comes after may differ. */
    @Test
    void anAutoCacheContinuesTokenForTokenWhereTheReferenceIsSure() {
        try (LLM llm = llm("auto")) {
            List<Completion> completions = continued(llm);
            for (int i = 0; i < completions.size(); i++) {
                TinyModel.Prompt prompt = TinyModel.referencePrompts().get(i);
                int sure = prompt.minMargin() < 0.05 ? prompt.minMarginAt() : 64;
                assertThat(Arrays.copyOf(completions.get(i).tokenIds(), sure))
                        .isEqualTo(Arrays.copyOf(prompt.greedyIds(), sure));
            }
        }
    }

    /** The tenth prompt repeats a passage of its own: an FP8 cache must still find it. */
    @Test
    void anFp8CacheWithCalculatedScalesRepeatsALongPassageAsAutoDoes() {
        String prompt = TinyModel.prompts().get(9);
        int[] auto;
        try (LLM llm = llm("auto")) {
            auto = llm.generate(prompt, GREEDY).get(0).tokenIds();
        }
        try (LLM llm = llm("fp8")) {
            assertThat(auto).hasSize(64);
            assertThat(llm.generate(prompt, GREEDY).get(0).tokenIds()).isEqualTo(auto);
            assertThat(llm.cache().scales().layer(5).k().at(0, 0, 64)).isNotEqualTo(1.0f);
        }
    }

    @Test
    void theLogitsAfterAPromptAreTheReferences() {
        ModelConfig config = ModelConfig.read(TinyModel.FOLDER);
        try (Checkpoint checkpoint = Checkpoint.open(TinyModel.FOLDER);
                LlamaModel model = LlamaModel.load(backend, config, checkpoint);
                KvCache cache = KvCache.create(
                        backend,
                        KvCacheConfig.builder()
                                .layers(6)
                                .kvHeads(2)
                                .headSize(64)
                                .dtype(KvCacheDType.FLOAT32)
                                .blocks(64)
                                .build())) {
            RopeTables rope = RopeTables.create(backend, config, 1024);
            Batch batch = cache.batch();
            List<TinyModel.Prompt> prompts = TinyModel.referencePrompts();
            for (TinyModel.Prompt prompt : prompts) {
                assertThat(batch.add(cache.open(prompt.tokenIds()))).isTrue();
            }
            model.forward(cache, batch, rope, LlamaModel.writer(cache, rope));
            int[] rows = {batch.lastRow(0), batch.lastRow(1), batch.lastRow(2)};
            HeadRows logits = model.logits(rows, 3);
            FloatBuffer values = backend.hostView(logits.memory(), 0, 3 * 2048 * Float.BYTES)
                    .order(ByteOrder.nativeOrder())
                    .asFloatBuffer();
            for (int i = 0; i < 3; i++) {
                int[] ids = prompts.get(i).topIds();
                double[] expected = prompts.get(i).topLogits();
                for (int top = 0; top < ids.length; top++) {
                    assertThat((double) values.get(i * 2048 + ids[top])).isCloseTo(expected[top], within(2e-4));
                }
            }
            for (int i = batch.sequences() - 1; i >= 0; i--) {
                Sequence sequence = batch.sequence(i);
                sequence.close();
            }
            rope.close();
        }
    }
}
