package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import dev.kv8.KvCacheDType;
import dev.kv8.KvScales;
import java.util.List;
import org.junit.jupiter.api.Test;

class CacheSettingTest {
    @Test
    void dtypesAreReadForBothSidesOrApart() {
        assertThat(CacheSetting.parse("fp8_e5m2")).isEqualTo(CacheSetting.of(KvCacheDType.FP8_E5M2, ScaleMode.NONE));
        CacheSetting apart = CacheSetting.parse("fp8:bfloat16");
        assertThat(apart.kDtype()).isEqualTo(KvCacheDType.FP8);
        assertThat(apart.vDtype()).isEqualTo(KvCacheDType.BFLOAT16);
        assertThat(apart.dtypeLabel()).isEqualTo("fp8:bfloat16");
    }

    @Test
    void whatIsNoDtypeIsRefused() {
        assertThatIllegalArgumentException()
                .isThrownBy(() -> CacheSetting.parse("fp8:fp8:auto"))
                .withMessageContaining("names 3 dtypes");
        assertThatIllegalArgumentException()
                .isThrownBy(() -> CacheSetting.parse("fp8:"))
                .withMessageContaining("\"\" is not a KV cache dtype");
    }

    @Test
    void scalesAreDroppedWhereNothingIsScaled() {
        assertThat(CacheSetting.of(KvCacheDType.AUTO, ScaleMode.TENSOR))
                .isEqualTo(CacheSetting.of(KvCacheDType.AUTO, ScaleMode.NONE));
        assertThat(CacheSetting.of(KvCacheDType.AUTO, KvCacheDType.FP8, ScaleMode.TENSOR)
                        .scales())
                .isEqualTo(ScaleMode.TENSOR);
    }

    @Test
    void labelsNameDtypesAndScales() {
        ScaleSource given = new ScaleSource.Given("calibrated", KvScales.none(2));
        CacheSetting setting = CacheSetting.of(KvCacheDType.FP8, given);
        assertThat(setting.label()).isEqualTo("fp8 calibrated");
        assertThat(setting.withScales(ScaleMode.HEAD).label()).isEqualTo("fp8 head");
        assertThat(setting.withSkippedLayers(List.of(3, 0, 3)).skippedLayers()).containsExactly(0, 3);
        assertThat(CacheSetting.of(KvCacheDType.AUTO, ScaleMode.NONE).label()).isEqualTo("auto");
    }
}
