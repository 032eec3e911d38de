/**
 * The FP8 paged KV cache: element formats, scales, the block manager, and {@link dev.kv8.KvBackend}, the door to the
 * kernels.
 *
 * <p>A token's K and V rows live in fixed-size blocks; a {@link dev.kv8.Sequence} owns a table of block ids; a {@link
 * dev.kv8.Batch} is one step over several sequences. Nothing here knows how a kernel works or what a model is.
 */
@NullMarked
package dev.kv8;

import org.jspecify.annotations.NullMarked;
