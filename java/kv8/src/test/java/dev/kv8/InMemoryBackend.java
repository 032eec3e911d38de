package dev.kv8;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.HashMap;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/**
 * What the manager needs of a backend, in plain Java, slow and exact: memory, copies, write, gather and attention over float32
 * rows, with float32 or FP8 storage. New memory is full of NaN. Without host access, device memory has no host view, so that
 * metadata that was not uploaded is found.
 */
class InMemoryBackend implements KvBackend {
    private record Region(ByteBuffer bytes, boolean device) {}

    private static final float[] E4M3FN = decoded(Fp8Format.E4M3FN);
    private static final float[] E5M2 = decoded(Fp8Format.E5M2);
    private static final float[] E4M3FNUZ = decoded(Fp8Format.E4M3FNUZ);
    private static final float[] E5M2FNUZ = decoded(Fp8Format.E5M2FNUZ);

    private final boolean hostAccessible;
    private final TreeMap<Long, Region> regions = new TreeMap<>();
    private long nextAddress = 1 << 16;
    private final Map<LayerLayout, CacheView> views = new HashMap<>();
    private long copies;
    private @Nullable View lastWritten;

    InMemoryBackend(boolean hostAccessible) {
        this.hostAccessible = hostAccessible;
    }

    private static float[] decoded(DType dtype) {
        return switch (dtype) {
            case E4M3FN -> E4M3FN;
            case E5M2 -> E5M2;
            case E4M3FNUZ -> E4M3FNUZ;
            case E5M2FNUZ -> E5M2FNUZ;
            default -> throw new IllegalArgumentException(dtype + " has no codes.");
        };
    }

    private static float[] decoded(Fp8Format format) {
        float[] values = new float[256];
        for (int code = 0; code < values.length; code++) {
            values[code] = format.decode((byte) code);
        }
        return values;
    }

    int liveAllocations() {
        return regions.size();
    }

    /** Calls of {@link #copy} within the device. */
    long copies() {
        return copies;
    }

    /** The view that was made last for a layer. */
    CacheView viewOf(LayerLayout layout) {
        return Objects.requireNonNull(views.get(layout), "no view was made of this layer");
    }

    /** The view of the last {@link #write}. */
    CacheView lastWritten() {
        return Objects.requireNonNull(lastWritten, "nothing was written");
    }

    @Override
    public DeviceInfo info() {
        Set<DType> storable = Set.of(DType.FLOAT32, DType.E4M3FN, DType.E5M2);
        return new DeviceInfo(
                "fake", 0, "test", "java", 1L << 40, 1L << 40, 0, storable, Set.of(), 1, hostAccessible, "");
    }

    // ---- memory

    @Override
    public DeviceMemory allocate(long bytes) {
        return allocate(bytes, true);
    }

    @Override
    public DeviceMemory allocateHost(long bytes) {
        return allocate(bytes, false);
    }

    private DeviceMemory allocate(long bytes, boolean device) {
        ByteBuffer buffer = ByteBuffer.allocateDirect(Math.toIntExact(bytes)).order(ByteOrder.nativeOrder());
        for (int i = 0; i < buffer.capacity(); i++) {
            buffer.put(i, (byte) 0xFF);
        }
        long address = nextAddress;
        nextAddress += (bytes + 127) / 64 * 64;
        regions.put(address, new Region(buffer, device));
        return DeviceMemory.owned(address, bytes, () -> regions.remove(address));
    }

    private ByteBuffer view(DeviceMemory memory, long offset, long bytes) {
        memory.checkRange(offset, bytes);
        long address = memory.address() + offset;
        Map.Entry<Long, Region> entry = regions.floorEntry(address);
        ByteBuffer whole = entry.getValue().bytes();
        return whole.slice(Math.toIntExact(address - entry.getKey()), Math.toIntExact(bytes))
                .order(ByteOrder.nativeOrder());
    }

    private boolean isDevice(DeviceMemory memory) {
        return regions.floorEntry(memory.address()).getValue().device();
    }

    /** As a kernel reads metadata: where the device does not see host memory, only what was brought to it. */
    private ByteBuffer kernelView(DeviceMemory memory, long bytes) {
        if (!hostAccessible && !isDevice(memory)) {
            throw new AssertionError("A kernel was given host memory.");
        }
        return view(memory, 0, bytes);
    }

    @Override
    public ByteBuffer hostView(DeviceMemory memory, long offset, int bytes) {
        if (!hostAccessible && isDevice(memory)) {
            throw new AssertionError("Device memory has no host view here.");
        }
        return view(memory, offset, bytes);
    }

    @Override
    public void upload(ByteBuffer source, DeviceMemory target, long offset) {
        view(target, offset, source.remaining()).put(source.duplicate());
    }

    @Override
    public void download(DeviceMemory source, long offset, ByteBuffer target) {
        target.duplicate().put(view(source, offset, target.remaining()));
    }

    @Override
    public void copy(DeviceMemory source, long sourceOffset, DeviceMemory target, long targetOffset, long bytes) {
        copies += isDevice(source) && isDevice(target) ? 1 : 0;
        view(target, targetOffset, bytes).put(view(source, sourceOffset, bytes));
    }

    @Override
    public void fill(DeviceMemory target, long offset, long bytes, byte value) {
        ByteBuffer view = view(target, offset, bytes);
        while (view.hasRemaining()) {
            view.put(value);
        }
    }

    @Override
    public void synchronize() {}

    @Override
    public KvBackend onStream(long nativeStream) {
        throw new IllegalArgumentException("There are no streams here.");
    }

    // ---- cache

    private record View(
            LayerLayout layout,
            ByteBuffer pool,
            @Nullable ChannelScales kScales,
            @Nullable ChannelScales vScales) implements CacheView {
        @Override
        public void close() {}
    }

    @Override
    public CacheView view(
            DeviceMemory pool, LayerLayout layout, @Nullable ChannelScales kScales, @Nullable ChannelScales vScales) {
        ByteBuffer bytes = view(pool, 0, layout.blocks() * layout.blockStride());
        View view = new View(layout, bytes, kScales, vScales);
        views.put(layout, view);
        return view;
    }

    private float channelScale(@Nullable ChannelScales scales, int head, int channel) {
        if (scales == null) {
            return 1;
        }
        long element = head * scales.headStride() + channel * scales.channelStride();
        return view(scales.values(), element * Float.BYTES, Float.BYTES).getFloat(0);
    }

    @Override
    public void write(
            CacheView view,
            HeadRows k,
            HeadRows v,
            int tokens,
            DeviceMemory slots,
            @Nullable RopeTable rope,
            @Nullable DeviceMemory positions,
            @Nullable DeviceMemory saturated) {
        View cache = (View) view;
        lastWritten = cache;
        long inK = 0;
        long inV = 0;
        ByteBuffer slot = kernelView(slots, tokens * 8L);
        ByteBuffer kRows = view(k.memory(), 0, k.memory().bytes());
        ByteBuffer vRows = view(v.memory(), 0, v.memory().bytes());
        for (int t = 0; t < tokens; t++) {
            for (int head = 0; head < cache.layout().kvHeads(); head++) {
                long at = slot.getLong(t * 8);
                inK += store(cache, cache.layout().k(), cache.kScales(), at, head, kRows, rowOffset(k, t, head));
                inV += store(cache, cache.layout().v(), cache.vScales(), at, head, vRows, rowOffset(v, t, head));
            }
        }
        if (saturated != null) {
            ByteBuffer counts = view(saturated, 0, 2 * Long.BYTES);
            counts.putLong(0, counts.getLong(0) + inK).putLong(Long.BYTES, counts.getLong(Long.BYTES) + inV);
        }
    }

    private static int rowOffset(HeadRows rows, int token, int head) {
        return Math.toIntExact(rows.offset() + token * rows.tokenStride() + head * rows.headStride());
    }

    private static int sideOffset(LayerLayout layout, LayerLayout.Side side, long slot, int head) {
        long block = slot / layout.blockSize();
        return Math.toIntExact(block * layout.blockStride()
                + side.offset()
                + head * side.headStride()
                + slot % layout.blockSize() * side.slotStride());
    }

    private static int rowScaleOffset(LayerLayout layout, LayerLayout.Side side, long slot, int head) {
        return Math.toIntExact(slot / layout.blockSize() * layout.blockStride()
                + side.rowScaleOffset()
                + head * side.rowScaleHeadStride()
                + slot % layout.blockSize() * Float.BYTES);
    }

    /** Returns how many values saturated. */
    private int store(
            View cache,
            LayerLayout.Side side,
            @Nullable ChannelScales scales,
            long slot,
            int head,
            ByteBuffer rows,
            int row) {
        LayerLayout layout = cache.layout();
        int target = sideOffset(layout, side, slot, head);
        int saturated = 0;
        float rowScale = 1;
        if (side.hasRowScales()) {
            float amax = 0;
            for (int d = 0; d < layout.headSize(); d++) {
                amax = Math.max(amax, Math.abs(rows.getFloat(row + d * 4)));
            }
            rowScale = KvScales.scaleFor(amax, Fp8Format.of(side.dtype()));
            cache.pool().putFloat(rowScaleOffset(layout, side, slot, head), rowScale);
        }
        for (int d = 0; d < layout.headSize(); d++) {
            float x = rows.getFloat(row + d * 4);
            if (side.dtype() == DType.FLOAT32) {
                cache.pool().putFloat(target + d * 4, x);
            } else {
                float scale = rowScale * channelScale(scales, head, d);
                Fp8Format format = Fp8Format.of(side.dtype());
                float step = format.maxValue() - format.decode((byte) (format.encode(format.maxValue()) - 1));
                saturated += Math.abs(x / scale) > format.maxValue() + step / 2 ? 1 : 0;
                cache.pool().put(target + d, format.encode(x / scale));
            }
        }
        return saturated;
    }

    private float[] load(View cache, LayerLayout.Side side, @Nullable ChannelScales scales, long slot, int head) {
        LayerLayout layout = cache.layout();
        int source = sideOffset(layout, side, slot, head);
        float rowScale = side.hasRowScales() ? cache.pool().getFloat(rowScaleOffset(layout, side, slot, head)) : 1;
        float[] row = new float[layout.headSize()];
        for (int d = 0; d < row.length; d++) {
            row[d] = side.dtype() == DType.FLOAT32
                    ? cache.pool().getFloat(source + d * 4)
                    : decoded(side.dtype())[cache.pool().get(source + d) & 0xFF]
                            * (rowScale * channelScale(scales, head, d));
        }
        return row;
    }

    @Override
    public void gather(CacheView view, HeadRows k, HeadRows v, int tokens, DeviceMemory slots) {
        View cache = (View) view;
        ByteBuffer slot = kernelView(slots, tokens * 8L);
        for (int t = 0; t < tokens; t++) {
            for (int head = 0; head < cache.layout().kvHeads(); head++) {
                long at = slot.getLong(t * 8);
                put(load(cache, cache.layout().k(), cache.kScales(), at, head), k, t, head);
                put(load(cache, cache.layout().v(), cache.vScales(), at, head), v, t, head);
            }
        }
    }

    private void put(float[] row, HeadRows rows, int token, int head) {
        view(rows.memory(), rowOffset(rows, token, head), row.length * 4L)
                .asFloatBuffer()
                .put(row);
    }

    // ---- attention

    private final class Plan implements AttentionPlan {
        private int[] starts = {};
        private int[] lengths = {};

        @Override
        public void update(int sequences, DeviceMemory queryStartLoc, DeviceMemory seqLens) {
            starts = new int[sequences + 1];
            lengths = new int[sequences];
            hostView(queryStartLoc, 0, starts.length * 4).asIntBuffer().get(starts);
            hostView(seqLens, 0, lengths.length * 4).asIntBuffer().get(lengths);
        }

        @Override
        public void close() {}
    }

    @Override
    public AttentionPlan attentionPlan(int queryHeads, int kvHeads, int headSize) {
        return new Plan();
    }

    @Override
    public void attend(
            CacheView view,
            AttentionPlan plan,
            DeviceMemory blockTable,
            long blockTableStride,
            HeadRows q,
            HeadRows out,
            @Nullable DeviceMemory lse,
            AttentionOptions options) {
        View cache = (View) view;
        int[] starts = ((Plan) plan).starts;
        int[] lengths = ((Plan) plan).lengths;
        ByteBuffer tables = kernelView(blockTable, lengths.length * blockTableStride * 4);
        for (int i = 0; i < lengths.length; i++) {
            for (int row = starts[i]; row < starts[i + 1]; row++) {
                int position = lengths[i] - starts[i + 1] + row;
                for (int head = 0; head < q.heads(); head++) {
                    int table = Math.toIntExact(i * blockTableStride * 4);
                    put(attendRow(cache, tables, table, position, q, row, head, options), out, row, head);
                }
            }
        }
    }

    private float[] attendRow(
            View cache,
            ByteBuffer tables,
            int table,
            int position,
            HeadRows q,
            int row,
            int head,
            AttentionOptions options) {
        LayerLayout layout = cache.layout();
        int kvHead = head / (q.heads() / layout.kvHeads());
        float[] query = new float[layout.headSize()];
        view(q.memory(), rowOffset(q, row, head), query.length * 4L)
                .asFloatBuffer()
                .get(query);
        double[] sum = new double[query.length];
        double total = 0;
        int first = options.window() == 0 ? 0 : Math.max(0, position - options.window() + 1);
        for (int j = first; j <= position; j++) {
            int block = tables.getInt(table + j / layout.blockSize() * 4);
            long slot = (long) block * layout.blockSize() + j % layout.blockSize();
            float[] key = load(cache, layout.k(), cache.kScales(), slot, kvHead);
            float[] value = load(cache, layout.v(), cache.vScales(), slot, kvHead);
            double score = 0;
            for (int d = 0; d < query.length; d++) {
                score += (double) query[d] * key[d];
            }
            double weight = Math.exp(score * options.softmaxScale());
            total += weight;
            for (int d = 0; d < query.length; d++) {
                sum[d] += weight * value[d];
            }
        }
        float[] result = new float[query.length];
        for (int d = 0; d < result.length; d++) {
            result[d] = (float) (sum[d] / total);
        }
        return result;
    }

    // ---- not the manager's

    private static UnsupportedOperationException unused() {
        return new UnsupportedOperationException("The manager does not call this.");
    }

    @Override
    public void cast(
            DeviceMemory source, DType sourceType, DeviceMemory target, DType targetType, long count, float scale) {
        throw unused();
    }

    @Override
    public void amax(HeadRows x, int tokens, AmaxGranularity granularity, DeviceMemory out, boolean accumulate) {
        throw unused();
    }

    @Override
    public void moveBlocks(CacheView source, CacheView target, int count, DeviceMemory pairs) {
        throw unused();
    }

    @Override
    public void mergeStates(
            HeadRows a,
            DeviceMemory lseA,
            HeadRows b,
            DeviceMemory lseB,
            HeadRows out,
            @Nullable DeviceMemory lse,
            int tokens) {
        throw unused();
    }

    @Override
    public void rmsNorm(
            HeadRows x,
            @Nullable HeadRows residual,
            DeviceMemory weight,
            DType weightType,
            float eps,
            HeadRows out,
            int tokens) {
        throw unused();
    }

    @Override
    public void rope(HeadRows x, RopeTable table, DeviceMemory positions, int tokens) {
        throw unused();
    }

    @Override
    public void matmul(HeadRows x, DeviceMemory weights, @Nullable DeviceMemory bias, HeadRows y, int tokens) {
        throw unused();
    }

    @Override
    public void gateMul(Activation activation, HeadRows gate, HeadRows up, HeadRows out, int tokens) {
        throw unused();
    }

    @Override
    public void softcap(HeadRows x, int tokens, float cap) {
        throw unused();
    }

    @Override
    public void embedding(
            DeviceMemory table,
            DType tableType,
            int vocabulary,
            DeviceMemory ids,
            HeadRows out,
            int tokens,
            float scale) {
        throw unused();
    }

    @Override
    public void sample(HeadRows logits, DeviceMemory sampling, DeviceMemory ids, int tokens) {
        throw unused();
    }

    @Override
    public void close() {}
}
