package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.kv8.KvScales.LayerScales;
import dev.kv8.KvScales.Side;
import java.util.ArrayList;
import java.util.List;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class KvCacheConfigTest {

    private static KvCacheConfig.Builder tiny() {
        return KvCacheConfig.builder().layers(6).kvHeads(2).headSize(64);
    }

    @Test
    void fp8HoldsTwiceTheTokensOfSixteenBits() {
        ByteSize memory = ByteSize.mib(64);
        CapacityPlan auto = CapacityPlan.of(tiny().memory(memory).build());
        CapacityPlan fp8 =
                CapacityPlan.of(tiny().dtype(KvCacheDType.FP8).memory(memory).build());
        assertThat(auto.bytesPerToken()).isEqualTo(2 * 6 * 2 * 64 * 2);
        assertThat(fp8.bytesPerToken()).isEqualTo(6 * 2 * 64 * 2);
        assertThat((double) fp8.blocks() / auto.blocks()).isGreaterThanOrEqualTo(1.98);
        assertThat(fp8.poolBytes()).isLessThanOrEqualTo(memory.bytes());
        assertThat(fp8.tokens()).isEqualTo(fp8.blocks() * 16L);
        assertThat(fp8.tokensInTier(ByteSize.of(3 * (fp8.blockBytes() + 128)))).isEqualTo(3 * 16);
        assertThat(fp8.tokensInTier(ByteSize.of(3 * (fp8.blockBytes() + 128) - 1)))
                .isEqualTo(2 * 16);
        assertThat(fp8.sequences(17)).isEqualTo(fp8.blocks() / 2);
        assertThat(fp8.sequences(16)).isEqualTo(fp8.blocks());
        assertThatThrownBy(() -> fp8.sequences(0)).isInstanceOf(IllegalArgumentException.class);
    }

    @Test
    void configurationsReportWhatTheyWereGiven() {
        KvScales scales = KvScales.dynamic(6);
        KvCacheConfig config = tiny().kDtype(KvCacheDType.FP8)
                .vDtype(KvCacheDType.FP8_E5M2)
                .modelDtype(DType.FLOAT16)
                .skipLayers(5, 0, 5)
                .scales(scales)
                .blockSize(32)
                .blocks(10)
                .prefixCaching(false)
                .partialReuse(false)
                .window(100)
                .modelId("tiny, 1")
                .salt("tenant")
                .build();
        assertThat(config.prefixCaching()).isFalse();
        assertThat(config.partialReuse()).isFalse();
        assertThat(config.window()).isEqualTo(100);
        assertThat(config.modelId()).isEqualTo("tiny, 1");
        assertThat(config.salt()).isEqualTo("tenant");
        assertThat(config.layers()).isEqualTo(6);
        assertThat(config.kvHeads()).isEqualTo(2);
        assertThat(config.headSize()).isEqualTo(64);
        assertThat(config.blockSize()).isEqualTo(32);
        assertThat(config.blocks()).isEqualTo(10);
        assertThat(config.memory()).isEqualTo(ByteSize.of(10 * config.blockBytes()));
        assertThat(config.skipLayers()).containsExactly(0, 5);
        assertThat(config.scales()).isSameAs(scales);
        assertThat(config.kDtype()).isEqualTo(KvCacheDType.FP8);
        assertThat(config.vDtype()).isEqualTo(KvCacheDType.FP8_E5M2);
        assertThat(config.kDtype(0)).isEqualTo(DType.FLOAT16);
        assertThat(config.kDtype(1)).isEqualTo(DType.E4M3FN);
        assertThat(config.vDtype(4)).isEqualTo(DType.E5M2);
        assertThat(config.vDtype(5)).isEqualTo(DType.FLOAT16);
        assertThatThrownBy(config::dtype).isInstanceOf(IllegalStateException.class);
        assertThat(config)
                .hasToString("KvCacheConfig[6 layers, 2 KV heads of 64, fp8/fp8_e5m2 (float16, e4m3fn, e5m2), "
                        + "10 blocks of 32 tokens, " + config.memory() + "]");
        assertThat(tiny().dtype(KvCacheDType.FP8).blocks(1).build().dtype()).isEqualTo(KvCacheDType.FP8);
    }

    @Test
    void memoryIsRoundedDownToWholeBlocks() {
        long blockBytes = tiny().blocks(1).build().blockBytes();
        KvCacheConfig config = tiny().memory(ByteSize.of(3 * blockBytes + 1)).build();
        assertThat(config.blocks()).isEqualTo(3);
        assertThatThrownBy(() -> tiny().memory(ByteSize.of(blockBytes - 1)).build())
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("one block of 16 tokens takes " + blockBytes + " bytes");
    }

    @Test
    void badSettingsAreRefusedByName() {
        refused(b -> b.layers(0), "layers is 0");
        refused(b -> b.kvHeads(-1), "kvHeads is -1");
        refused(b -> b.headSize(72), "headSize is 72; the kernels have 64, 80, 96, 112, 128, 192, 256");
        refused(b -> b.blockSize(20), "blockSize is 20; give a multiple of 8 from 8 to 128");
        refused(b -> b.blockSize(0), "blockSize is 0");
        refused(b -> b.blockSize(136), "blockSize is 136");
        refused(b -> b.modelDtype(DType.E5M2), "modelDtype is e5m2");
        refused(b -> b.skipLayers(6), "skipLayers names layer 6; this cache has layers 0 to 5");
        refused(b -> b.scales(KvScales.none(5)), "The scales are for 5 layers, the cache has 6");
        refused(b -> b.memory(ByteSize.gib(1)), "Give memory or blocks, not both");
        refused(b -> b.blocks(0), "give memory(...) or blocks(...)");
        refused(b -> b.blocks(-5), "blocks is -5");
        KvScales wrongShape = KvScales.builder(6, 4, 64)
                .layer(2, new LayerScales(Side.head(1, 1, 1, 1), Side.NONE))
                .build();
        refused(b -> b.scales(wrongShape), "k_scale of layer 2 has 4 values");
    }

    /** The sum wrapped around to a block of no bytes, or to one of too few. */
    @Test
    void sizesThatOverflowAreRefusedByName() {
        for (int layers : new int[] {131_072, 131_073}) {
            assertThatThrownBy(() -> KvCacheConfig.builder()
                            .layers(layers)
                            .kvHeads(1 << 30)
                            .headSize(256)
                            .blockSize(128)
                            .blocks(1)
                            .build())
                    .isInstanceOf(IllegalArgumentException.class)
                    .hasMessageContaining("A block of 128 tokens with " + layers
                            + " layers and 1073741824 KV heads of 256 has more bytes than an address space holds");
        }
        refused(
                b -> b.kvHeads(1 << 30).headSize(256).blockSize(128).blocks(1 << 20),
                "blocks is 1048576; that many of");
    }

    private static void refused(UnaryOperator<KvCacheConfig.Builder> change, String message) {
        assertThatThrownBy(() -> change.apply(tiny().blocks(4)).build())
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining(message);
    }

    /** Every part of every layer, as byte ranges of a block: in bounds, aligned, disjoint and with nothing but padding between. */
    @ParameterizedTest
    @ValueSource(ints = {8, 24, 128})
    void blocksHoldAllLayersWithoutOverlap(int blockSize) {
        KvScales scales = KvScales.builder(6, 3, 80)
                .layer(1, LayerScales.DYNAMIC)
                .layer(2, new LayerScales(Side.DYNAMIC, Side.tensor(2)))
                .layer(3, new LayerScales(Side.NONE, Side.DYNAMIC))
                .build();
        KvCacheConfig config = KvCacheConfig.builder()
                .layers(6)
                .kvHeads(3)
                .headSize(80)
                .dtype(KvCacheDType.FP8)
                .skipLayers(4)
                .scales(scales)
                .blockSize(blockSize)
                .blocks(7)
                .build();
        List<long[]> parts = new ArrayList<>();
        for (int layer = 0; layer < 6; layer++) {
            LayerLayout layout = config.layout().layer(layer, 7);
            assertThat(layout.blockStride()).isEqualTo(config.blockBytes());
            addParts(parts, layout, layout.k());
            addParts(parts, layout, layout.v());
            assertThat(layout.k().hasRowScales()).isEqualTo(layer == 1 || layer == 2);
            assertThat(layout.v().hasRowScales()).isEqualTo(layer == 1 || layer == 3);
        }
        parts.sort((a, b) -> Long.compare(a[0], b[0]));
        long end = 0;
        for (long[] part : parts) {
            assertThat(part[0]).isEqualTo(end);
            end = part[1];
        }
        assertThat(config.blockBytes() % 64).isZero();
        assertThat(config.blockBytes() - end).isBetween(0L, 63L);
    }

    private static void addParts(List<long[]> parts, LayerLayout layout, LayerLayout.Side side) {
        long row = (long) layout.headSize() * side.dtype().bytes();
        assertThat(side.offset() % 16).isZero();
        assertThat(side.slotStride()).isEqualTo(row);
        assertThat(side.headStride()).isEqualTo(row * layout.blockSize());
        parts.add(new long[] {side.offset(), side.offset() + layout.kvHeads() * side.headStride()});
        if (side.hasRowScales()) {
            assertThat(side.rowScaleHeadStride()).isEqualTo(4L * layout.blockSize());
            long start = side.rowScaleOffset();
            parts.add(new long[] {start, start + layout.kvHeads() * side.rowScaleHeadStride()});
        }
    }
}
