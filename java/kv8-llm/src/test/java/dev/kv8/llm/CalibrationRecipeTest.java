package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import dev.kv8.KvScales.Granularity;
import dev.kv8.llm.KvCacheScheme.Observer;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.OptionalDouble;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class CalibrationRecipeTest {
    @TempDir
    Path folder;

    private CalibrationRecipe read(String yaml) {
        try {
            return CalibrationRecipe.read(Files.writeString(folder.resolve("recipe.yaml"), yaml));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private KvCacheScheme scheme(String fields) {
        return read("QuantizationModifier: {kv_cache_scheme: {" + fields + "}}").scheme();
    }

    @Test
    void readsARecipeWithAStage() {
        CalibrationRecipe recipe = read("""
                # what LLM Compressor's examples have
                quant_stage:
                  run_type: oneshot
                  quant_modifiers:
                    QuantizationModifier:
                      ignore: ["lm_head", "model.layers.2.self_attn"]
                      kv_cache_scheme:
                        num_bits: 8
                        type: float
                        strategy: tensor
                        dynamic: false
                        symmetric: true
                """);
        assertThat(recipe.scheme()).isEqualTo(KvCacheScheme.of(Granularity.TENSOR, Observer.MINMAX));
        assertThat(recipe.ignore()).containsExactly("lm_head", "model.layers.2.self_attn");
        assertThat(recipe.skippedLayers(4)).containsExactly(2);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "quant_modifiers: {QuantizationModifier: {kv_cache_scheme: {type: float}}}",
                "QuantizationModifier: {kv_cache_scheme: {type: float}}",
                "default_stage: {default_modifiers: {QuantizationModifier: {targets: [Linear], ignore: [],"
                        + " bypass_divisibility_checks: false, kv_cache_scheme: {type: float, group_size: null,"
                        + " actorder: null, observer: memoryless_minmax, observer_kwargs: {}}}}}",
                "{\"QuantizationModifier\": {\"kv_cache_scheme\": {\"num_bits\": 8, \"type\": \"float\"}}}"
            })
    void readsARecipeOfAnyShape(String yaml) {
        assertThat(read(yaml).scheme()).isEqualTo(KvCacheScheme.of(Granularity.TENSOR, Observer.MINMAX));
        assertThat(read(yaml).skippedLayers(4)).isEmpty();
    }

    @ParameterizedTest
    @CsvSource({"tensor,TENSOR", "attn_head,HEAD", "channel,CHANNEL", "ATTN_HEAD,HEAD"})
    void readsEachStrategy(String strategy, Granularity granularity) {
        KvCacheScheme scheme = scheme("type: float, strategy: " + strategy);
        assertThat(scheme.granularity()).isEqualTo(granularity);
        assertThat(scheme.strategy()).isEqualToIgnoringCase(strategy);
        assertThat(scheme.needsCalibration()).isTrue();
    }

    @ParameterizedTest
    @CsvSource({
        "minmax,MINMAX",
        "static_minmax,MINMAX",
        "memoryless_minmax,MINMAX",
        "mse,MSE",
        "memoryless_mse,MSE",
        "percentile,PERCENTILE"
    })
    void readsEachObserver(String name, Observer observer) {
        KvCacheScheme scheme = scheme("type: float, observer: " + name);
        assertThat(scheme.observer()).isEqualTo(observer);
        assertThat(scheme.observerName()).isEqualTo(name);
    }

    @Test
    void readsThePercentile() {
        assertThat(scheme("type: float, observer: percentile").percentile()).isEqualTo(OptionalDouble.of(99.9));
        assertThat(scheme("type: float, observer: percentile, observer_kwargs: {percentile: 99}")
                        .percentile())
                .isEqualTo(OptionalDouble.of(99));
    }

    @Test
    void takesADynamicSchemeByTokenWhichNeedsNoCalibration() {
        KvCacheScheme scheme = scheme("type: float, strategy: token, dynamic: true");
        assertThat(scheme).isEqualTo(KvCacheScheme.dynamic());
        assertThat(scheme.needsCalibration()).isFalse();
        assertThatIllegalStateException().isThrownBy(scheme::observer);
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            num_bits: 4, type: float                                  | "num_bits" is 4; it must be 8
            num_bits: eight, type: float                              | "num_bits" is eight; it must be a whole number
            num_bits: 8, type: int                                    | "type" is int; it must be float
            num_bits: 8                                               | "type" is int when it is left out; it must be float
            type: float, symmetric: false                             | "symmetric" is false; it must be true
            type: float, strategy: group, group_size: 128             | "group_size" is not for KV scales
            type: float, strategy: block, block_structure: [128, 128] | "block_structure" is not for KV scales
            type: float, strategy: group                              | "strategy" is group; it must be tensor, attn_head, channel
            type: float, strategy: heads                              | "strategy" is heads; it must be tensor, attn_head, channel
            type: float, dynamic: true                                | "strategy" is tensor; it must be token with dynamic true
            type: float, dynamic: true, strategy: attn_head           | "strategy" is attn_head; it must be token with dynamic true
            type: float, strategy: token                              | "dynamic" is false; it must be true with strategy token
            type: float, dynamic: local                               | "dynamic" is local; it must be true or false
            type: float, dynamic: true, strategy: token, observer: minmax | "observer" finds static scales, but dynamic is true
            type: float, observer: hqq                                | "observer" is hqq; it must be minmax, static_minmax
            type: float, observer: mse, observer_kwargs: {norm: 2.4}  | "norm" is not an option of kv8's mse
            type: float, observer: minmax, observer_kwargs: {percentile: 99} | "percentile" is not an option of kv8's minmax
            type: float, observer: percentile, observer_kwargs: {percentile: 50} | "percentile" is 50.0; it must be more than 50 and at most 100
            type: float, observer: percentile, observer_kwargs: {percentile: 100.5} | "percentile" is 100.5; it must be more than 50
            type: float, actorder: static                             | "actorder" is not known for a KV cache; known are dynamic, num_bits, observer
            type: float, bits: 8                                      | "bits" is not known for a KV cache
            """)
    void refusesASchemeByName(String fields, String message) {
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> scheme(fields))
                .withMessageContaining("recipe.yaml, QuantizationModifier, kv_cache_scheme")
                .withMessageContaining(message);
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            GPTQModifier: {kv_cache_scheme: {type: float}}  | "GPTQModifier" is not followed; the only modifier that kv8 follows
            s_stage: {SmoothQuantModifier: {}}              | "SmoothQuantModifier" is not followed
            QuantizationModifier: {scheme: FP8_DYNAMIC, kv_cache_scheme: {type: float}} | "scheme" quantizes weights or activations, which kv8 does not do
            QuantizationModifier: {config_groups: {}, kv_cache_scheme: {type: float}} | "config_groups" quantizes weights
            QuantizationModifier: {weight_observer: mse, kv_cache_scheme: {type: float}} | "weight_observer" quantizes weights
            QuantizationModifier: {kv_cache: {type: float}} | "kv_cache" is not known; known are kv_cache_scheme and ignore
            QuantizationModifier: {ignore: [lm_head]}       | has no "kv_cache_scheme"
            QuantizationModifier: {kv_cache_scheme: fp8}    | "kv_cache_scheme" is fp8; it must be an object
            QuantizationModifier: [1]                       | "QuantizationModifier" is [1]; it must be an object
            QuantizationModifier:                           | it must be an object
            quant_stage: {}                                 | has 0 modifiers; it must have one
            {a_stage: {QuantizationModifier: {}}, b_stage: {QuantizationModifier: {}}} | has 2 modifiers; it must have one
            {QuantizationModifier: {}, QuantizationModifier: {}} | is not valid YAML: Duplicate
            QuantizationModifier: {ignore: ['re:(']}        | "re:(" is not a valid regular expression
            QuantizationModifier: {                         | is not valid YAML
            - QuantizationModifier                          | does not hold a YAML object
            """)
    void refusesARecipeByName(String yaml, String message) {
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> read(yaml))
                .withMessageContaining(message);
    }

    @Test
    void saysThatARecipeIsMissingOrEmpty() {
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> CalibrationRecipe.read(folder.resolve("none.yaml")))
                .withMessageContaining("none.yaml is missing");
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> read(""))
                .withMessageContaining("does not hold a YAML object");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            model.layers.1.self_attn      | 1
            re:.*layers\\.1\\.self_attn   | 1
            re:.*layers\\.1              | 1 10 11
            re:layers                     |
            re:model.layers.[03].self    | 0 3
            model.layers.1                |
            re:.*self_attn\\.q_proj       |
            """)
    void skipsLayersAsCompressedTensorsMatchesNames(String pattern, String layers) {
        String yaml = "QuantizationModifier: {kv_cache_scheme: {type: float}, ignore: ['" + pattern + "']}";
        String found =
                read(yaml).skippedLayers(12).stream().map(String::valueOf).collect(Collectors.joining(" "));
        assertThat(found).isEqualTo(layers == null ? "" : layers);
    }

    @Test
    void refusesASchemeThatContradictsItself() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> new KvCacheScheme(Granularity.NONE, "minmax", OptionalDouble.empty()))
                .withMessageContaining("TENSOR, HEAD, CHANNEL or DYNAMIC");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> new KvCacheScheme(Granularity.DYNAMIC, "minmax", OptionalDouble.empty()))
                .withMessageContaining("dynamic ones have none");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> new KvCacheScheme(Granularity.HEAD, "minmax", OptionalDouble.of(99)))
                .withMessageContaining("only the percentile observer has one");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> KvCacheScheme.percentile(Granularity.HEAD, 10))
                .withMessageContaining("The percentile is 10.0; it must be more than 50 and at most 100");
    }
}
