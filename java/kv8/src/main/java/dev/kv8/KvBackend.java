package dev.kv8;

import java.nio.ByteBuffer;
import org.jspecify.annotations.Nullable;

/**
 * The kernels on one device: one method per kernel, on memory that the caller owns. {@link KvCache} is its main user; an
 * engine with a cache of its own may call it directly.
 *
 * <p>Arguments are checked against the memory they name before a kernel starts: a wrong shape, dtype or size is an {@link
 * IllegalArgumentException} that says what was given and what is allowed, and nothing is changed. A failing device is a
 * {@link DeviceException}. Methods may be called from several threads; calls take turns. What a call is checked by (slots,
 * ids, positions, block tables, pairs, plans, channel scales, sampling) may not lie in memory that it writes.
 *
 * <p>Kernels are ordered; on a GPU they may still run when a method returns, until {@link #synchronize}. So what only they can
 * see there (a slot, block, position or token id out of range, in device memory) is an {@link IllegalArgumentException} of the
 * next call that waits: synchronize, upload or download. The kernel left such an element out and touched nothing outside.
 *
 * <p>The numerics are the same bit for bit on every backend: {@code code = encode(x / scale)} with one float32 division
 * and one rounding to nearest even, saturating; {@code x = decode(code) * scale}.
 */
public interface KvBackend extends AutoCloseable {

    /**
     * Opens the backend named by {@code -Dkv.backend} or {@code KV8_BACKEND}: {@code auto} (the default: the first that works
     * of cuda, rocm and cpu), {@code cpu}, {@code cuda} or {@code rocm}.
     *
     * @throws BackendUnavailableException saying what is missing and what brings it
     */
    static KvBackend open() {
        return BackendProviders.open(BackendProviders.requestedName());
    }

    /** Opens a backend by name; see {@link #open()}. */
    static KvBackend open(String name) {
        return BackendProviders.open(name);
    }

    /** The device: name, memory, types that it stores. Its free memory is that of this moment. */
    DeviceInfo info();

    // ---- memory

    /**
     * Device memory with undefined contents, aligned for every kernel; the caller closes it.
     *
     * @throws DeviceException when there is not so much
     */
    DeviceMemory allocate(long bytes);

    /** Host memory that kernels can read too (pinned on a GPU), otherwise as {@link #allocate}. */
    DeviceMemory allocateHost(long bytes);

    /**
     * Host-accessible memory as a buffer in native byte order; it does not keep the memory alive. Memory of {@link #allocateHost} is
     * host-accessible, that of {@link #allocate} where {@link DeviceInfo#hostAccessible} says so, as on the CPU.
     */
    ByteBuffer hostView(DeviceMemory memory, long offset, int bytes);

    /**
     * Copies all that remains in {@code source}, of either kind, to the device and waits; its position does not move, and it may be
     * changed at once. Bytes are copied as they are, so fill it in native byte order. Without a wait: {@link #copy} from memory of
     * {@link #allocateHost}.
     *
     * @param offset into {@code target}, in bytes
     */
    void upload(ByteBuffer source, DeviceMemory target, long offset);

    /** Fills all that remains in {@code target} from the device and waits; its position does not move. */
    void download(DeviceMemory source, long offset, ByteBuffer target);

    /** Copies in the order of kernels, within the device or between it and host memory, which stays untouched until it is done. */
    void copy(DeviceMemory source, long sourceOffset, DeviceMemory target, long targetOffset, long bytes);

    /** Sets {@code bytes} bytes to {@code value}, in the order of kernels. */
    void fill(DeviceMemory target, long offset, long bytes, byte value);

    /** Waits until all kernels and copies have completed. */
    void synchronize();

    /**
     * The same device and memory with all calls on a stream of the caller's own runtime: a {@code CUstream} or {@code
     * hipStream_t} by address. Views, plans and memory of either are accepted by both; order between two streams is the
     * caller's. The stream stays the caller's and must outlive what is returned, which is closed alone or with this.
     *
     * @throws IllegalArgumentException where there are no such streams, as on the CPU
     */
    KvBackend onStream(long nativeStream);

    // ---- graphs

    /** Whether {@link #capture} works: a GPU launches many small kernels sooner as one graph. */
    default boolean capturesGraphs() {
        return false;
    }

    /**
     * Records the calls that {@code calls} makes of this backend, without doing them: a CUDA or HIP graph, whose launch costs the host
     * one call. The graph keeps the addresses, shapes and numbers that each call was given; what lies in memory (ids, slots, tables,
     * scales, a plan) each launch reads anew, so it may change in between, where it lies.
     *
     * <p>Each call is checked when it is captured. Refused, without an end of the capture, is what waits or what only one step can
     * have: {@link #synchronize}, {@link #upload}, {@link #download}, {@link AttentionPlan#update}, {@link #allocate} and closing what
     * it gave, and a shape's first {@link #matmul}. Other threads' calls wait meanwhile. Launches are put on this backend's
     * stream, in the order of its calls.
     *
     * @param calls runs on this thread, once; what it throws is thrown on, and then there is no graph and the backend is as before
     * @throws UnsupportedOperationException where there are no {@linkplain #capturesGraphs graphs}, as on the CPU
     * @throws IllegalStateException inside another capture
     */
    default CapturedGraph capture(Runnable calls) {
        throw new UnsupportedOperationException(
                "The " + info().backend() + " backend captures no graphs (capturesGraphs). Make the calls themselves.");
    }

    // ---- numerics

    /**
     * Converts {@code count} elements from the start of {@code source}: to FP8 {@code encode(x / scale)}, from FP8 {@code
     * decode(code) * scale}; between other types the scale must be 1.
     *
     * @param scale finite, positive, normal, as its reciprocal
     */
    void cast(DeviceMemory source, DType sourceType, DeviceMemory target, DType targetType, long count, float scale);

    /**
     * The largest magnitudes of {@code tokens} tokens of {@code x} into {@code out}; NaN is skipped.
     *
     * @param x {@code [tokens][heads][width]}
     * @param out float32, of the shape that {@code granularity} has
     * @param accumulate take the maximum with what {@code out} holds
     */
    void amax(HeadRows x, int tokens, AmaxGranularity granularity, DeviceMemory out, boolean accumulate);

    // ---- cache

    /**
     * Describes a layer of a cache in {@code pool}.
     *
     * @param kScales static scales of K, null for 1.0 (always so for 16 and 32-bit types)
     * @param vScales static scales of V, null for 1.0
     */
    CacheView view(
            DeviceMemory pool, LayerLayout layout, @Nullable ChannelScales kScales, @Nullable ChannelScales vScales);

    /**
     * Quantizes and scatters K and V of {@code tokens} tokens.
     *
     * @param k {@code [tokens][kvHeads][headSize]}
     * @param v like {@code k}
     * @param slots int64 {@code [tokens]}: {@code block * blockSize + index}, distinct; -1 skips the token
     * @param rope rotates K first, or null
     * @param positions int32 {@code [tokens]}, used with {@code rope}
     * @param saturated uint64 {@code [2]}, or null: to them are added K's and V's values that saturate, see {@link Saturation}
     */
    void write(
            CacheView view,
            HeadRows k,
            HeadRows v,
            int tokens,
            DeviceMemory slots,
            @Nullable RopeTable rope,
            @Nullable DeviceMemory positions,
            @Nullable DeviceMemory saturated);

    /**
     * Dequantizes the rows at {@code slots} (int64 {@code [tokens]}) into {@code k} and {@code v}, each {@code
     * [tokens][kvHeads][headSize]}; slot -1 gives zeros.
     */
    void gather(CacheView view, HeadRows k, HeadRows v, int tokens, DeviceMemory slots);

    /** Copies blocks, int32 {@code [count][2]} of (source, target), converting where dtypes or scales differ. */
    void moveBlocks(CacheView source, CacheView target, int count, DeviceMemory pairs);

    // ---- attention

    /** A plan for layers whose queries see all keys before them, {@code queryHeads} a multiple of {@code kvHeads}. */
    AttentionPlan attentionPlan(int queryHeads, int kvHeads, int headSize);

    /**
     * A plan for layers with a window.
     *
     * @param window keys that a query of theirs sees, its own included; 0 for all. A hint of what there is to share out: attention
     *     with another window gives the same results from the plan, only later
     */
    default AttentionPlan attentionPlan(int queryHeads, int kvHeads, int headSize, int window) {
        return attentionPlan(queryHeads, kvHeads, headSize);
    }

    /**
     * Causal paged attention over the planned batch.
     *
     * @param blockTable int32 {@code [sequences][blockTableStride]}
     * @param blockTableStride entries from one sequence's first to the next one's
     * @param q {@code [tokens][queryHeads][headSize]}
     * @param out of {@code q}'s shape, in any type of rows
     * @param lse float32 {@code [tokens][queryHeads]}, natural log, or null
     */
    void attend(
            CacheView view,
            AttentionPlan plan,
            DeviceMemory blockTable,
            long blockTableStride,
            HeadRows q,
            HeadRows out,
            @Nullable DeviceMemory lse,
            AttentionOptions options);

    /**
     * Joins attention results over disjoint keys. Rows are {@code [tokens][heads][width]}, each lse float32 {@code [tokens][heads]};
     * {@code out} may be {@code a} or {@code b}; {@code lse} may be null.
     */
    void mergeStates(
            HeadRows a,
            DeviceMemory lseA,
            HeadRows b,
            DeviceMemory lseB,
            HeadRows out,
            @Nullable DeviceMemory lse,
            int tokens);

    // ---- what an engine needs beside

    /**
     * {@code y[t][o] = sum over i of x[t][i] * weights[o][i] (+ bias[o])}: a linear layer, by cuBLASLt, hipBLASLt or the
     * emulator; on the CPU, of float32 rows, by kernels for few of them ({@link #matmulInOrder}). Products and sums are float32, float32 inputs with all their bits; {@code y} is rounded once. On one device a
     * row's result does not depend, in any bit, on the other rows or their number.
     *
     * <p>The first call opens the vendor's library and takes 32 MiB of the device, and a shape's first call chooses its
     * algorithm; neither can be captured into a graph. One workspace serves every stream: order calls on different streams
     * of one device.
     *
     * @param x {@code [tokens][1][inputs]}
     * @param weights {@code [outputs][inputs]} of {@code x}'s type, from its start
     * @param bias {@code [outputs]} of {@code y}'s type, or null
     * @param y {@code [tokens][1][outputs]}, of {@code x}'s type or float32; shares no bytes with the rest
     * @throws UnsupportedOperationException for 16-bit rows on the CPU
     * @throws BackendUnavailableException when the vendor's library is missing, with what brings it
     */
    void matmul(HeadRows x, DeviceMemory weights, @Nullable DeviceMemory bias, HeadRows y, int tokens);

    /**
     * {@link #matmul} of float32 rows on the CPU with weights of any type, for a few rows, whose time is that of reading the
     * weights; for many a GEMM library is faster. A result is the sum, one after the other, of partial sums of {@code sumLength}
     * inputs each, and these add one product after the other, fused where the processor does that. GEMM libraries add so too,
     * so that their results for many rows and these for few can be equal in every bit.
     *
     * @param x float32 {@code [tokens][1][inputs]}
     * @param weights {@code [outputs][inputs]} of {@code weightsType}: float32, float16 or bfloat16
     * @param bias float32 {@code [outputs]}, or null
     * @param y float32 {@code [tokens][1][outputs]}; shares no bytes with the rest
     * @param sumLength inputs of a partial sum; 0: all
     * @throws UnsupportedOperationException on a GPU, for what its library does not do: an order, or rows of another type
     */
    default void matmulInOrder(
            HeadRows x,
            DeviceMemory weights,
            DType weightsType,
            @Nullable DeviceMemory bias,
            HeadRows y,
            int tokens,
            int sumLength) {
        throw new UnsupportedOperationException("The " + info().backend()
                + " backend has no products in a given order. Use matmul, whose order its library chooses.");
    }

    /**
     * {@code out = x / sqrt(mean(x²) + eps) * weight} by row, in float32; with a residual first {@code residual += x} and that sum
     * takes x's place. Rows are {@code [tokens][heads][width]}: one head for a hidden state, all heads for a norm by head.
     *
     * @param weight {@code [width]} of {@code weightType}
     * @param out may be {@code x}
     */
    void rmsNorm(
            HeadRows x,
            @Nullable HeadRows residual,
            DeviceMemory weight,
            DType weightType,
            float eps,
            HeadRows out,
            int tokens);

    /** Rotates {@code x}, {@code [tokens][heads][width]}, in place by the angles at {@code positions}, int32 {@code [tokens]}. */
    void rope(HeadRows x, RopeTable table, DeviceMemory positions, int tokens);

    /** {@code out = activation(gate) * up} in float32, each {@code [tokens][1][width]}; {@code out} may be one of them. */
    void gateMul(Activation activation, HeadRows gate, HeadRows up, HeadRows out, int tokens);

    /** {@code x = cap * tanh(x / cap)} in place, {@code x} of one head: the bound that Gemma 2 puts on its logits. */
    void softcap(HeadRows x, int tokens, float cap);

    /**
     * {@code out[t] = table[ids[t]] * scale}.
     *
     * @param table {@code [vocabulary][width]} of {@code tableType}
     * @param ids int32 {@code [tokens]}
     * @param out {@code [tokens][1][width]}
     * @param scale 1 for none; Gemma multiplies by the square root of the width
     */
    void embedding(
            DeviceMemory table,
            DType tableType,
            int vocabulary,
            DeviceMemory ids,
            HeadRows out,
            int tokens,
            float scale);

    /**
     * Draws a token per row of {@code logits} ({@code [tokens][1][vocabulary]}).
     *
     * @param sampling {@code [tokens]} of 16 bytes: float32 temperature (0: greedy), float32 topP, int32 topK (0: all), float32
     *     uniform random number in [0, 1)
     * @param ids int32 {@code [tokens]}, out
     */
    void sample(HeadRows logits, DeviceMemory sampling, DeviceMemory ids, int tokens);

    /** Closes the device. Memory, views and plans made from it are invalid afterwards; closing twice does nothing. */
    @Override
    void close();
}
