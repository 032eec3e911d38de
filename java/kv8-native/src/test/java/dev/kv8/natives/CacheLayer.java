package dev.kv8.natives;

import dev.kv8.CacheView;
import dev.kv8.ChannelScales;
import dev.kv8.DType;
import dev.kv8.DeviceMemory;
import dev.kv8.KvBackend;
import dev.kv8.LayerLayout;
import org.jspecify.annotations.Nullable;

/** One layer of a cache as the manager lays it out: {@code [kv_head][slot][head_size]} for K, then V, then row scales. */
record CacheLayer(DeviceMemory pool, LayerLayout layout, CacheView view) {

    static CacheLayer plain(KvBackend backend, DType dtype, int blocks, int blockSize, int kvHeads, int headSize) {
        return of(backend, dtype, dtype, blocks, blockSize, kvHeads, headSize, false, null, null);
    }

    static CacheLayer of(
            KvBackend backend,
            DType kType,
            DType vType,
            int blocks,
            int blockSize,
            int kvHeads,
            int headSize,
            boolean rowScales,
            @Nullable ChannelScales kScales,
            @Nullable ChannelScales vScales) {
        long kHead = (long) blockSize * headSize * kType.bytes();
        long vHead = (long) blockSize * headSize * vType.bytes();
        long vStart = kHead * kvHeads;
        long scales = vStart + vHead * kvHeads;
        long scaleHead = 4L * blockSize;
        long none = LayerLayout.NO_ROW_SCALES;
        LayerLayout layout = new LayerLayout(
                blocks,
                blockSize,
                kvHeads,
                headSize,
                scales + (rowScales ? 2 * scaleHead * kvHeads : 0),
                new LayerLayout.Side(
                        kType, 0, kHead, (long) headSize * kType.bytes(), rowScales ? scales : none, scaleHead),
                new LayerLayout.Side(
                        vType,
                        vStart,
                        vHead,
                        (long) headSize * vType.bytes(),
                        rowScales ? scales + scaleHead * kvHeads : none,
                        scaleHead));
        DeviceMemory pool = new Device(backend).poisoned(blocks * layout.blockStride());
        return new CacheLayer(pool, layout, backend.view(pool, layout, kScales, vScales));
    }
}
