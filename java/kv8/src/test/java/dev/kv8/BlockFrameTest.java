package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.kv8.BlockFrame.Verdict;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.HexFormat;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.zip.CRC32C;
import org.junit.jupiter.api.Test;

class BlockFrameTest {
    private static final int PAYLOAD = 3000;
    private static final BlockKey KEY = new BlockKey(1, -2, 3, -4);
    private static final LayoutFingerprint LAYOUT = new LayoutFingerprint(5, 6);
    private static final BlockFrame FORM = new BlockFrame(LAYOUT, 16, PAYLOAD, 64);

    private static ByteBuffer sealed() {
        byte[] payload = new byte[PAYLOAD];
        new Random(7).nextBytes(payload);
        ByteBuffer frame = ByteBuffer.allocateDirect(FORM.frameBytes());
        frame.put(BlockFrame.HEADER, payload);
        FORM.seal(frame, KEY);
        return frame;
    }

    static void reseal(ByteBuffer frame) {
        CRC32C crc = new CRC32C();
        crc.update(frame.duplicate().position(0).limit(124));
        frame.order(ByteOrder.LITTLE_ENDIAN).putInt(124, (int) crc.getValue());
    }

    @Test
    void aSealedFrameIsIntact() {
        assertThat(FORM.check(sealed(), FORM.frameBytes(), KEY)).isEqualTo(Verdict.INTACT);
    }

    /** What files and servers hold must stay readable: another program made these bytes. */
    @Test
    void theHeadersBytesAreThoseOfTheFormat() {
        ByteBuffer frame = ByteBuffer.allocateDirect(FORM.frameBytes());
        for (int i = 0; i < PAYLOAD; i++) {
            frame.put(BlockFrame.HEADER + i, (byte) (i * 7 % 251));
        }
        FORM.seal(frame, KEY);
        byte[] header = new byte[BlockFrame.HEADER];
        frame.get(0, header);
        assertThat(HexFormat.of().formatHex(header))
                .isEqualTo("4b56384201008000000000001000000005000000000000000600000000000000"
                        + "0100000000000000feffffffffffffff0300000000000000fcffffffffffffff"
                        + "b80b000000000000400000000000000000000000000000006693c6ad00000000"
                        + "000000000000000000000000000000000000000000000000000000004bd314b1");
    }

    @Test
    void everySingleFlippedBitIsFound() {
        ByteBuffer frame = sealed();
        for (int bit = 0; bit < 8 * frame.capacity(); bit++) {
            byte old = frame.get(bit / 8);
            frame.put(bit / 8, (byte) (old ^ 1 << bit % 8));
            assertThat(FORM.check(frame, FORM.frameBytes(), KEY))
                    .as("bit %d", bit)
                    .isNotEqualTo(Verdict.INTACT);
            frame.put(bit / 8, old);
        }
    }

    @Test
    void everyOtherLengthIsFound() {
        for (int bytes = 0; bytes < FORM.frameBytes(); bytes++) {
            assertThat(FORM.check(sealed(), bytes, KEY)).as("%d bytes", bytes).isEqualTo(Verdict.DAMAGED);
        }
        assertThat(FORM.check(sealed(), FORM.frameBytes() + 1, KEY)).isEqualTo(Verdict.DAMAGED);
        assertThat(FORM.check(sealed(), -1, KEY)).isEqualTo(Verdict.DAMAGED);
    }

    @Test
    void whatIsWholeButNotWhatWasAskedForIsToldApart() {
        assertThat(FORM.check(sealed(), FORM.frameBytes(), new BlockKey(1, -2, 3, 4)))
                .isEqualTo(Verdict.WRONG_KEY);
        for (BlockFrame other : List.of(
                new BlockFrame(new LayoutFingerprint(5, 7), 16, PAYLOAD, 64),
                new BlockFrame(LAYOUT, 32, PAYLOAD, 64),
                new BlockFrame(LAYOUT, 16, PAYLOAD - 1, 64),
                new BlockFrame(LAYOUT, 16, PAYLOAD, 0))) {
            assertThat(other.check(sealed(), FORM.frameBytes(), KEY)).isEqualTo(Verdict.INCOMPATIBLE);
        }
        ByteBuffer later = sealed();
        later.put(4, (byte) 2);
        reseal(later);
        assertThat(FORM.check(later, FORM.frameBytes(), KEY)).as("version 2").isEqualTo(Verdict.INCOMPATIBLE);
    }

    @Test
    void aFlagThatIsNotKnownIsAnotherFormat() {
        ByteBuffer frame = sealed().order(ByteOrder.LITTLE_ENDIAN);
        frame.putInt(8, 1);
        reseal(frame);
        assertThat(FORM.check(frame, FORM.frameBytes(), KEY)).isEqualTo(Verdict.INCOMPATIBLE);
    }

    @Test
    void aKeyReadsBackFromItsDigits() {
        assertThat(BlockKey.parse(KEY.hex())).isEqualTo(KEY);
        assertThat(KEY.hex()).startsWith("0100000000000000feffffffffffffff").hasSize(64);
        assertThatThrownBy(() -> BlockKey.parse("0102"))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("has 4 digits; a block's key has 64");
    }

    /** Both formats: the value of each code with doubled scale is that of the OCP code that it becomes. */
    @Test
    void aDeviceWithFnuzCodesKeepsTheSameBlocks() {
        for (KvCacheDType dtype : List.of(KvCacheDType.FP8_E4M3, KvCacheDType.FP8_E5M2)) {
            KvCacheConfig config = KvCacheConfig.builder()
                    .layers(1)
                    .kvHeads(1)
                    .headSize(64)
                    .blockSize(8)
                    .blocks(1)
                    .dtype(dtype)
                    .scales(KvScales.builder(1, 1, 64)
                            .layer(0, KvScales.LayerScales.DYNAMIC)
                            .build())
                    .build();
            DType stored = dtype == KvCacheDType.FP8_E4M3 ? DType.E4M3FNUZ : DType.E5M2FNUZ;
            Fp8Format fnuz = Fp8Format.of(stored);
            Fp8Format ocp = Fp8Format.of(config.kDtype(0));
            DeviceInfo device =
                    new DeviceInfo("rocm", 0, "test", "gfx942", 0, 0, 0, Set.of(stored), Set.of(stored), 0, false, "");
            StoredCodes codes = new StoredCodes(config.layout(), device);
            assertThat(codes.areThoseOfTiers()).isFalse();
            ByteBuffer block =
                    ByteBuffer.allocateDirect((int) config.blockBytes()).order(ByteOrder.LITTLE_ENDIAN);
            LayerLayout layer = config.layout().layer(0, 1);
            for (int i = 0; i < 256; i++) {
                block.put((int) layer.k().offset() + i, (byte) i);
                block.put((int) layer.v().offset() + i, (byte) i);
            }
            for (int slot = 0; slot < 8; slot++) {
                block.putFloat((int) layer.k().rowScaleOffset() + 4 * slot, 2 + slot);
                block.putFloat((int) layer.v().rowScaleOffset() + 4 * slot, 20 + slot);
            }
            ByteBuffer original = ByteBuffer.allocate(block.capacity())
                    .put(block.duplicate().clear())
                    .flip();
            codes.toPortable(block.clear(), 0);
            for (int i = 0; i < 256; i++) {
                float before = fnuz.decode((byte) i) * 2;
                byte code = block.get((int) layer.v().offset() + i);
                if (Math.abs(fnuz.decode((byte) i)) <= ocp.maxValue() / 2
                        || Float.isNaN(before)) { // all that caches hold
                    assertThat((Float) ocp.decode(code))
                            .as("%s code %d", stored, i)
                            .isEqualTo((Float) before);
                }
            }
            assertThat(block.getFloat((int) layer.k().rowScaleOffset() + 4)).isEqualTo(1.5f);
            assertThat(block.getFloat((int) layer.v().rowScaleOffset())).isEqualTo(10);
            codes.toDevice(block.clear(), 0);
            for (int i = 0; i < 256; i++) {
                if (Math.abs(fnuz.decode((byte) i)) <= ocp.maxValue() / 2 || i == 0x80) {
                    assertThat(block.get((int) layer.k().offset() + i)).isEqualTo((byte) i);
                }
            }
            assertThat(block.slice((int) layer.k().rowScaleOffset(), 32))
                    .isEqualTo(original.slice((int) layer.k().rowScaleOffset(), 32));
        }
    }
}
