// Rows of K and V into the cache, out of it, and from block to block.
//
// A row lies across the registers of the threads that share it, as float32: seven loads and seven stores serve all
// pairs of dtypes, and a row's own scale is a few shuffles away. A block works at K or at V, so that its threads branch
// alike. Move copies bytes where source and destination mean the same by them.
#include "gpu/cache_side.h"
#include "gpu/rope.h"

namespace kv8::gpu {
namespace {

// The rounds of a launch: K's and V's alternate over blocks, each of rows_in_block rows of one side.
struct Rounds {
    int64_t rows, step, round, rounds;
    KV8_DEVICE Rounds(int64_t rows, const RowShare& share)
        : rows(rows),
          step(share.rows_in_block),
          round(block()),
          rounds(2 * divided(rows + share.rows_in_block - 1, share.rows_in_block).quotient) {}
    KV8_DEVICE bool more() const { return round < rounds; }
    KV8_DEVICE void next() { round += blocks(); }
    KV8_DEVICE bool of_v() const { return round % 2 != 0; }
    KV8_DEVICE int64_t row(const RowShare& share) const { return round / 2 * step + share.row; }
};

// A token's slot: -1 skips it, and so does one outside the cache, which is reported and told apart by `legal`.
struct Slot {
    int64_t number;
    bool legal;
};

KV8_DEVICE int64_t load_slot(const kv8_span& slots, int64_t token) {
    return load<int64_t>(address_of(slots) + 8 * token);
}

KV8_DEVICE Slot checked_slot(const kv8_cache_view& view, int64_t slot, int64_t token, Fault* fault) {
    const int64_t end = int64_t(view.num_blocks) * view.block_size;
    if (slot >= -1 && slot < end) return {slot, true};
    report(fault, kBadSlot, token, slot, end);
    return {-1, false};
}

KV8_DEVICE CachePlace place_of(const kv8_cache_view& view, int64_t slot, int64_t head, int first) {
    const Division place = divided(slot, view.block_size);
    return {place.quotient, place.remainder, head, first};
}

KV8_DEVICE void rotate(Chunk& c, const kv8_rows& rows, const uint8_t* row, int first, const uint8_t* angles,
                       const kv8_rope_table& rope) {
    if (first >= rope.rotary_size) return;
    if (rope.style == KV8_ROPE_INTERLEAVED)
        rotate_interleaved(c, first, angles, rope.rotary_size);
    else if (rows.dtype == KV8_F32)
        rotate_half<Float32>(c, row, first, angles, rope.rotary_size);
    else if (rows.dtype == KV8_F16)
        rotate_half<Float16>(c, row, first, angles, rope.rotary_size);
    else
        rotate_half<BFloat16>(c, row, first, angles, rope.rotary_size);
}

// Adds what the warp's threads counted; all of them call it together. Most have nothing to add.
KV8_DEVICE void add_of_warp(uint64_t* count, uint32_t mine) {
    if (!any_lane(mine != 0)) return;
    for (int mask = kLanes / 2; mask > 0; mask /= 2) mine += shuffle_xor(mine, mask);
    if (lane() == 0) atomic_add(count, mine);
}

// ---- what two caches mean by the same bytes

// Whether this thread's part of the scales differs.
KV8_DEVICE bool scales_differ(const kv8_cache_view& view, const kv8_side& a, const kv8_side& b, Fault* fault) {
    const bool given = a.chan.ptr != 0 || b.chan.ptr != 0;
    const bool same_array =
        a.chan.ptr == b.chan.ptr && a.chan_head_stride == b.chan_head_stride && a.chan_dim_stride == b.chan_dim_stride;
    // The first block looks at all scales, so that illegal ones are found where bytes are copied as well.
    if (!given || (same_array && block() != 0)) return false;
    const int64_t chunks = view.head_size / kChunk;
    bool differ = false;
    for (int64_t i = thread(); i < view.kv_heads * chunks; i += MoveBlocksParams::kThreads) {
        const Division part = divided(i, chunks);
        const Chunk of_a = chan_of(a, part.quotient, int(part.remainder) * kChunk, fault),
                    of_b = chan_of(b, part.quotient, int(part.remainder) * kChunk, fault);
#pragma unroll
        for (int j = 0; j < kChunk; j++) differ |= of_a.x[j] != of_b.x[j];
    }
    return differ && !same_array;
}

KV8_DEVICE bool formats_differ(const kv8_side& a, const kv8_side& b) {
    return a.dtype != b.dtype || has_row_scales(a) != has_row_scales(b);
}

// Bit 0: K's, bit 1: V's. The same answer for all threads of the block, and for all blocks.
KV8_DEVICE uint32_t sides_that_differ(const MoveBlocksParams& p) {
    uint32_t mine = (scales_differ(p.src, p.src.k, p.dst.k, p.fault) || formats_differ(p.src.k, p.dst.k) ? 1u : 0u) |
                    (scales_differ(p.src, p.src.v, p.dst.v, p.fault) || formats_differ(p.src.v, p.dst.v) ? 2u : 0u);
    mine = (any_lane((mine & 1u) != 0) ? 1u : 0u) | (any_lane((mine & 2u) != 0) ? 2u : 0u);
    const Shared own = {uint32_t(4 * warp())};
    if (lane() == 0) store(own, mine);
    sync_block();
    uint32_t all = 0;
    for (int i = 0; i < MoveBlocksParams::kThreads / kLanes; i++) all |= load<uint32_t>(Shared{uint32_t(4 * i)});
    return all;
}

// A chunk as it is: the bytes of kChunk elements, 8, 16 or 32.
KV8_DEVICE void copy_chunk(uint8_t* to, const uint8_t* from, int element_bytes) {
    if (element_bytes == 1) return store(to, load<Words2>(from));
    store(to, load<Words4>(from));
    if (element_bytes == 4) store(to + 16, load<Words4>(from + 16));
}

}  // namespace

KV8_KERNEL(kv8_write_kernel, WriteParams::kThreads, WriteParams::kResident, WriteParams) {
    const kv8_write_args& args = params.args;
    const kv8_cache_view& view = params.view;
    const RowShare share(view.head_size, WriteParams::kThreads);
    const int first = share.chunk * kChunk;
    for (Rounds rounds(int64_t(args.tokens) * view.kv_heads, share); rounds.more(); rounds.next()) {
        const bool of_v = rounds.of_v();
        const int64_t row = rounds.row(share);
        const kv8_rows& rows = of_v ? args.v : args.k;
        CachePlace place = {0, 0, 0, first};
        Chunk c = chunk_of(0.0f);
        bool valid = false;
        if (row < rounds.rows && first < view.head_size) {
            const Division of = divided(row, view.kv_heads);  // token and head
            const bool turns = args.rope.rotary_size > 0 && !of_v;
            // Nothing waits for these before the row's own load is under way.
            const int64_t given_slot = load_slot(args.slots, of.quotient);
            const int32_t position = turns ? load_position(args.rope, of.quotient) : 0;
            const uint8_t* from = row_at(rows, of.quotient, of.remainder);
            c = load_plain(rows.dtype, from + first * element_bytes(rows.dtype), kChunk);
            const int64_t slot = checked_slot(view, given_slot, of.quotient, params.fault).number;
            valid = slot >= 0;
            place = place_of(view, valid ? slot : 0, of.remainder, first);
            if (turns) {
                const uint8_t* angles = angles_at(args.rope, position, of.quotient, params.fault);
                valid &= angles != nullptr;
                if (angles != nullptr) rotate(c, rows, from, first, angles, args.rope);
            }
        }
        const bool counts = args.saturated.ptr != 0;
        const uint32_t saturated =
            put_row(c, view, of_v ? view.v : view.k, place, valid, share.threads, counts, params.fault);
        if (counts) add_of_warp(reinterpret_cast<uint64_t*>(args.saturated.ptr) + (of_v ? 1 : 0), saturated);
    }
}

KV8_KERNEL(kv8_gather_kernel, GatherParams::kThreads, GatherParams::kResident, GatherParams) {
    const kv8_gather_args& args = params.args;
    const kv8_cache_view& view = params.view;
    const RowShare share(view.head_size, GatherParams::kThreads);
    const int first = share.chunk * kChunk;
    if (first >= view.head_size) return;
    for (Rounds rounds(int64_t(args.tokens) * view.kv_heads, share); rounds.more(); rounds.next()) {
        const int64_t row = rounds.row(share);
        if (row >= rounds.rows) continue;
        const bool of_v = rounds.of_v();
        const kv8_rows& rows = of_v ? args.v : args.k;
        const Division of = divided(row, view.kv_heads);
        const Slot slot = checked_slot(view, load_slot(args.slots, of.quotient), of.quotient, params.fault);
        if (!slot.legal) continue;
        Chunk c = chunk_of(0.0f);
        if (slot.number >= 0)
            c = get_row(view, of_v ? view.v : view.k, place_of(view, slot.number, of.remainder, first), params.fault);
        store_plain(rows.dtype, row_at(rows, of.quotient, of.remainder) + first * element_bytes(rows.dtype), c, kChunk);
    }
}

KV8_KERNEL(kv8_move_blocks_kernel, MoveBlocksParams::kThreads, MoveBlocksParams::kResident, MoveBlocksParams) {
    const kv8_move_blocks_args& args = params.args;
    const kv8_cache_view &src = params.src, &dst = params.dst;
    const uint32_t differ = sides_that_differ(params);
    const RowShare share(src.head_size, MoveBlocksParams::kThreads);
    const int first = share.chunk * kChunk;
    const int64_t rows_in_pair = int64_t(src.kv_heads) * src.block_size;
    for (Rounds rounds(args.count * rows_in_pair, share); rounds.more(); rounds.next()) {
        const bool of_v = rounds.of_v();
        const int64_t row = rounds.row(share);
        const kv8_side &from = of_v ? src.v : src.k, &to = of_v ? dst.v : dst.k;
        CachePlace source = {0, 0, 0, first}, target = source;
        bool valid = row < rounds.rows && first < src.head_size;
        if (valid) {
            const Division of = divided(row, rows_in_pair), in_block = divided(of.remainder, src.block_size);
            const uint8_t* pair = address_of(args.pairs) + 8 * of.quotient;
            source = {load<int32_t>(pair), in_block.remainder, in_block.quotient, first};
            target = {load<int32_t>(pair + 4), in_block.remainder, in_block.quotient, first};
            if (source.block < 0 || source.block >= src.num_blocks) {
                report(params.fault, kBadSource, of.quotient, source.block, src.num_blocks);
                valid = false;
            } else if (target.block < 0 || target.block >= dst.num_blocks) {
                report(params.fault, kBadTarget, of.quotient, target.block, dst.num_blocks);
                valid = false;
            }
        }
        if ((differ & (of_v ? 2u : 1u)) != 0) {
            const Chunk c = valid ? get_row(src, from, source, params.fault) : chunk_of(0.0f);
            put_row(c, dst, to, target, valid, share.threads, false, params.fault);
        } else if (valid) {
            copy_chunk(cache_chunk(dst, to, target), cache_chunk(src, from, source), element_bytes(from.dtype));
            if (first == 0 && has_row_scales(from))
                store(row_scale(dst, to, target), load<uint32_t>(row_scale(src, from, source)));
        }
    }
}

}  // namespace kv8::gpu
