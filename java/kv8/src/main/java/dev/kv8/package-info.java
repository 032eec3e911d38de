/**
 * The FP8 paged KV cache: element formats, scales, the block manager, and {@link dev.kv8.KvBackend}, the door to the
 * kernels. Begin at {@link dev.kv8.KvCache}.
 *
 * <p>A token's K and V rows live in fixed-size blocks; a {@link dev.kv8.Sequence} owns a table of block ids; a {@link
 * dev.kv8.Batch} is one step over several sequences; {@link dev.kv8.Tiers} keep blocks that the pool has no room for. Nothing here
 * knows how a kernel works or what a model is.
 *
 * <p>Shapes are written {@code [tokens][heads][width]}, the last index contiguous. Offsets, strides and sizes of memory are in bytes,
 * those of caches and windows in tokens or blocks, as their names say. A wrong argument is an {@link IllegalArgumentException}, a
 * call at the wrong time an {@link IllegalStateException}; either changes nothing. A failing device is a {@link
 * dev.kv8.DeviceException}. What only a GPU can see is reported late, see {@link dev.kv8.KvBackend}.
 */
@NullMarked
package dev.kv8;

import org.jspecify.annotations.NullMarked;
