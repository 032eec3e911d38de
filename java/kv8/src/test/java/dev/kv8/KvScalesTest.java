package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.kv8.KvScales.LayerScales;
import dev.kv8.KvScales.Side;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class KvScalesTest {
    private static final float LARGEST = 0x1p126f;

    @ParameterizedTest
    @CsvSource({
        "NaN, not a number",
        "0.0, zero",
        "-0.0, zero",
        "-1.5, negative",
        "-Infinity, negative",
        "Infinity, infinite",
        "1e-40, subnormal",
        "2e38, so large that its reciprocal is subnormal",
    })
    void anUnusableScaleIsRefusedByName(float scale, String fault) {
        assertThatThrownBy(() -> KvScales.checkScale(scale, "model.layers.3.self_attn.k_scale"))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageStartingWith("model.layers.3.self_attn.k_scale is " + scale + ", which is " + fault + ";")
                .hasMessageContaining("finite, positive and normal");
    }

    @ParameterizedTest
    @ValueSource(floats = {Float.MIN_NORMAL, 0.02f, 1, LARGEST})
    void aUsableScaleIsReturned(float scale) {
        assertThat(KvScales.checkScale(scale, "k_scale")).isEqualTo(scale);
    }

    @Test
    void theBuilderNamesLayerHeadAndChannel() {
        KvScales.Builder builder = KvScales.builder(4, 2, 64);
        float[] channels = new float[128];
        Arrays.fill(channels, 1);
        channels[64 + 5] = 0;
        assertThatThrownBy(() -> builder.layer(3, new LayerScales(Side.channel(channels), Side.NONE)))
                .hasMessageStartingWith("k_scale of layer 3, head 1, channel 5 is 0.0, which is zero");
        assertThatThrownBy(() -> builder.layer(2, new LayerScales(Side.NONE, Side.head(1, Float.NaN))))
                .hasMessageStartingWith("v_scale of layer 2, head 1 is NaN, which is not a number");
        assertThatThrownBy(() -> builder.layer(0, new LayerScales(Side.tensor(-2), Side.NONE)))
                .hasMessageStartingWith("k_scale of layer 0 is -2.0, which is negative");
        assertThatThrownBy(() -> builder.layer(1, new LayerScales(Side.NONE, Side.head(1, 1, 1))))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("v_scale of layer 1 has 3 values")
                .hasMessageContaining("needs 2");
        assertThatThrownBy(() -> builder.layer(4, LayerScales.NONE))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("Layer 4 does not exist")
                .hasMessageContaining("0 to 3");
    }

    @Test
    void layersThatAreNotSetHaveNone() {
        LayerScales given = new LayerScales(Side.tensor(0.5f), Side.head(1, 2));
        KvScales scales = KvScales.builder(2, 2, 64).layer(1, given).build();
        assertThat(scales.layers()).isEqualTo(2);
        assertThat(scales.layer(0)).isEqualTo(LayerScales.NONE);
        assertThat(scales.layer(1)).isEqualTo(given);
        assertThat(KvScales.dynamic(3).layer(2)).isEqualTo(LayerScales.DYNAMIC);
        assertThat(KvScales.none(1).layer(0)).isEqualTo(LayerScales.NONE);
        assertThatThrownBy(() -> KvScales.none(0)).isInstanceOf(IllegalArgumentException.class);
    }

    @Test
    void everyGranularityIsOneFormula() {
        assertThat(Side.NONE.at(1, 2, 64)).isEqualTo(1);
        assertThat(Side.DYNAMIC.at(1, 2, 64)).isEqualTo(1);
        assertThat(Side.tensor(3).at(1, 2, 64)).isEqualTo(3);
        assertThat(Side.head(3, 4).at(1, 2, 64)).isEqualTo(4);
        float[] channels = new float[128];
        channels[64 + 2] = 7;
        assertThat(Side.channel(channels).at(1, 2, 64)).isEqualTo(7);
    }

    @Test
    void valuesAreCopiedInAndOut() {
        float[] given = {1, 2};
        Side side = Side.head(given);
        given[0] = 9;
        side.values()[1] = 9;
        assertThat(side.values()).containsExactly(1, 2);
        assertThat(side)
                .isEqualTo(Side.head(1, 2))
                .isNotEqualTo(Side.head(1, 3))
                .isNotEqualTo(Side.channel(1, 2));
    }

    @Test
    void aScaleMapsAmaxToTheFormatsLargestValue() {
        assertThat(KvScales.scaleFor(896, Fp8Format.E4M3FN)).isEqualTo(2);
        assertThat(KvScales.scaleFor(57344, Fp8Format.E5M2)).isEqualTo(1);
        assertThat(KvScales.scaleFor(0, Fp8Format.E4M3FN)).isEqualTo(1);
        assertThat(KvScales.scaleFor(Float.MIN_VALUE, Fp8Format.E4M3FN)).isEqualTo(Float.MIN_NORMAL);
        for (Fp8Format format : Fp8Format.values()) {
            KvScales.checkScale(KvScales.scaleFor(Float.MAX_VALUE, format), "largest");
        }
        for (float amax : new float[] {Float.NaN, Float.POSITIVE_INFINITY, -1}) {
            assertThatThrownBy(() -> KvScales.scaleFor(amax, Fp8Format.E4M3FN))
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("amax is " + amax);
        }
    }
}
