package dev.kv8;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;

/**
 * Makes a block the same on every device: tiers keep OCP codes. A device that stores FNUZ (see {@link StoredFormat}) has the same
 * codes with doubled scales, but for NaN and -0: its NaN is 0x80, which is -0 in OCP; OCP's canonical NaN is 0x7F. Row scales are
 * halved on the way out and doubled on the way in. Static scales are not in the block. On every other device this only clears what belongs to
 * no layer of a block's group, where another block's content may be left.
 */
final class StoredCodes {
    private static final byte FNUZ_NAN = (byte) 0x80;
    private static final byte OCP_NAN = 0x7F;

    /** Bytes of a block. */
    private record Region(int from, int length) {}

    /** By group of layers. */
    private final List<List<Region>> codes = new ArrayList<>();

    private final List<List<Region>> rowScales = new ArrayList<>();
    private final PoolLayout layout;

    /** For the sides whose stored type is not the configured one. */
    StoredCodes(PoolLayout layout, DeviceInfo device) {
        this.layout = layout;
        for (int group = 0; group < layout.groups(); group++) {
            codes.add(new ArrayList<>());
            rowScales.add(new ArrayList<>());
        }
        for (int layer = 0; layer < layout.layers(); layer++) {
            int group = layout.group(layer);
            LayerLayout parts = layout.layer(layer, 1);
            for (LayerLayout.Side side : List.of(parts.k(), parts.v())) {
                if (StoredFormat.of(side.dtype(), device) != side.dtype()) {
                    codes.get(group).add(region(side.offset(), parts.kvHeads() * side.headStride()));
                    if (side.hasRowScales()) {
                        rowScales
                                .get(group)
                                .add(region(side.rowScaleOffset(), parts.kvHeads() * side.rowScaleHeadStride()));
                    }
                }
            }
        }
    }

    private static Region region(long from, long length) {
        return new Region(Math.toIntExact(from), Math.toIntExact(length));
    }

    /** Whether blocks lie on the device as tiers keep them. */
    boolean areThoseOfTiers() {
        return codes.stream().allMatch(List::isEmpty);
    }

    /** From what the device keeps, in place; {@code block} is everything that remains. */
    void toPortable(ByteBuffer block, int group) {
        layout.clearUnused(block.slice(), group);
        for (Region region : codes.get(group)) {
            for (int i = position(block, region), end = i + region.length(); i < end; i++) {
                if (block.get(i) == FNUZ_NAN) {
                    block.put(i, OCP_NAN);
                }
            }
        }
        scale(block, group, 0.5f);
    }

    /** To what the device keeps, in place. */
    void toDevice(ByteBuffer block, int group) {
        for (Region region : codes.get(group)) {
            for (int i = position(block, region), end = i + region.length(); i < end; i++) {
                byte code = block.get(i);
                if (code == FNUZ_NAN) {
                    block.put(i, (byte) 0);
                } else if ((code & 0x7F) == OCP_NAN) {
                    block.put(i, FNUZ_NAN);
                }
            }
        }
        scale(block, group, 2);
    }

    private void scale(ByteBuffer block, int group, float factor) {
        ByteBuffer floats = block.duplicate().order(ByteOrder.LITTLE_ENDIAN);
        for (Region region : rowScales.get(group)) {
            for (int i = position(block, region), end = i + region.length(); i < end; i += Float.BYTES) {
                floats.putFloat(i, factor * floats.getFloat(i));
            }
        }
    }

    private static int position(ByteBuffer block, Region region) {
        return block.position() + region.from();
    }
}
