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
    if (rope.style == KV8_ROPE_INTERLEAVED) return rotate_interleaved(c, first, angles, rope.rotary_size);
    with_plain(rows.dtype,
               [&](auto element) { rotate_half<decltype(element)>(c, row, first, angles, rope.rotary_size); });
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

// ---- write

// How a side's rows are read. The two common ways want 16-bit elements in aligned chunks, and a scale for all channels of a
// head, or none; kTurning also rotates, with chunks of the other half and of the table that are aligned too.
enum class Reading { kPlain, kTurning, kAny };

KV8_DEVICE Reading reading_of(const WriteParams& params, bool of_v) {
    const kv8_rows& rows = of_v ? params.args.v : params.args.k;
    const kv8_side& side = of_v ? params.view.v : params.view.k;
    const kv8_rope_table& rope = params.args.rope;
    if (((rows.data.ptr | uint64_t(rows.token_stride) | uint64_t(rows.head_stride)) & 15) != 0) return Reading::kAny;
    if (rows.dtype == KV8_F32 || has_row_scales(side) || !shares_scale(side)) return Reading::kAny;
    if (of_v || rope.rotary_size == 0) return Reading::kPlain;
    const bool halves = rope.style == KV8_ROPE_HALF && rope.rotary_size % (2 * kChunk) == 0;
    return halves && (rope.table.ptr & 15) == 0 ? Reading::kTurning : Reading::kAny;
}

KV8_DEVICE Chunk widened(kv8_dtype dtype, Words4 words) {
    return dtype == KV8_F16 ? Float16::widen(words) : BFloat16::widen(words);
}

// K or V. A thread keeps its chunk of a head and walks over tokens, so that what depends on the head is found once, and several
// tokens' rows are under way before the first is waited for. None of these loads hangs on a condition: a thread without a
// row, or without a token, loads another's.
template <Reading kReading>
KV8_DEVICE void write_side(const WriteParams& params, bool of_v) {
    constexpr bool kAny = kReading == Reading::kAny, kTurning = kReading == Reading::kTurning;
    constexpr int kTokens = kAny ? 1 : kTurning ? WriteParams::kTurningTokens : WriteParams::kTokens;
    const kv8_write_args& args = params.args;
    const kv8_cache_view& view = params.view;
    const kv8_rope_table& rope = args.rope;
    const kv8_rows& rows = of_v ? args.v : args.k;
    const kv8_side& side = of_v ? view.v : view.k;
    const bool turns = kTurning || (kAny && rope.rotary_size > 0 && !of_v), counts = args.saturated.ptr != 0;
    const RowShare share(view.head_size, WriteParams::kThreads);
    const bool has_chunk = share.chunk * kChunk < view.head_size;
    const int first = has_chunk ? share.chunk * kChunk : 0;
    const Half half(first < rope.rotary_size ? first : 0, rope.rotary_size / 2);
    const Divider block_of(view.block_size);

    // The side's blocks have so many rows at a time: all heads' of some tokens, or some heads' of one.
    const int side_blocks = blocks() > 1 ? (blocks() + 1 - int(of_v)) / 2 : 1,
              at_a_time = side_blocks * share.rows_in_block;
    const Divider by_heads(view.kv_heads);
    const int slices = at_a_time > view.kv_heads ? int(by_heads(uint32_t(at_a_time)).quotient) : 1,
              columns = slices * view.kv_heads;
    const uint32_t tokens = uint32_t(args.tokens), step = uint32_t(slices);
    uint32_t saturated = 0;
    for (int column = block() / 2 * share.rows_in_block; column < columns; column += at_a_time) {
        const bool has_column = column + share.row < columns;
        const Division place = by_heads(uint32_t(has_column ? column + share.row : columns - 1));
        const uint32_t slice = uint32_t(place.quotient);
        const int64_t head = place.remainder;
        const uint8_t* from = row_at(rows, 0, head);
        uint8_t* to = cache_chunk(view, side, {0, 0, head, first});
        const float scale = kAny ? 1.0f : channel_scale(side, head, 0);
        Quotients quotients;
        for (uint32_t round = 0; round < tokens; round += step * kTokens) {
            int64_t slot[kTokens];
            int32_t position[kTokens];
            const uint8_t* row[kTokens];
            Words4 words[kTokens], other[kTokens];
            Angles angles[kTokens];
            Chunk cosine, sine;
#pragma unroll
            for (int j = 0; j < kTokens; j++) {
                const uint32_t mine = round + slice + j * step, token = mine < tokens ? mine : tokens - 1;
                slot[j] = load_slot(args.slots, token);
                position[j] = turns ? load_position(rope, token) : 0;
                row[j] = from + token * rows.token_stride;
            }
#pragma unroll
            for (int j = 0; j < kTokens; j++) {
                if constexpr (!kAny) words[j] = load<Words4>(row[j] + 2 * first);
                if constexpr (kTurning) other[j] = load<Words4>(row[j] + 2 * half.other);
            }
            Chunk any;
            if constexpr (kAny) any = load_plain(rows.dtype, row[0] + first * element_bytes(rows.dtype), kChunk);
#pragma unroll
            for (int j = 0; j < kTokens; j++)
                if (turns) angles[j] = angles_of(rope, position[j]);
            const auto load_angles = [&](int j) {
                cosine = Float32::load_chunk(angles[j].row + 4 * half.angle);
                sine = Float32::load_chunk(angles[j].row + 4 * half.angle + 2 * rope.rotary_size);
            };
            if constexpr (kTurning) load_angles(0);
            if (!kAny && round == 0) {  // now that rows are under way, and no sooner, the scale is waited for
                const float known = float_of(uint32_t(opaque(int(bits_of(scale)))));
                if (has_column) check_scale(side, known, head, 0, params.fault);
                quotients = Quotients(known);
            }
#pragma unroll
            for (int j = 0; j < kTokens; j++) {
                if (round + j * step >= tokens) break;  // no thread has one
                const uint32_t token = round + slice + j * step;
                bool valid = has_column && has_chunk && token < tokens;
                const int64_t number = valid ? checked_slot(view, slot[j], token, params.fault).number : -1;
                if (valid && turns && !angles[j].legal) {
                    report_position(rope, load_position(rope, token), token, params.fault);
                    valid = false;
                }
                valid &= number >= 0;
                const int64_t kept = valid ? number : 0;
                const Division place =
                    kept >> 32 == 0 ? block_of(uint32_t(kept)) : divided(kept, opaque(view.block_size));
                Chunk c;
                if constexpr (kAny) {
                    c = any;
                    if (turns) rotate(c, rows, row[j], first, angles[j].row, rope);
                    const CachePlace at = {place.quotient, place.remainder, head, first};
                    if (is_fp8(side.dtype)) divide_row(c, view, side, at, valid, share.threads, params.fault);
                } else {
                    c = widened(rows.dtype, words[j]);
                    if (kTurning && first < rope.rotary_size)
                        rotate_chunk(c, widened(rows.dtype, other[j]), cosine, sine, half.is_x);
                    if (kTurning && j + 1 < kTokens) load_angles(j + 1);  // while this token's are converted
                    if (is_fp8(side.dtype)) quotients.replace(c);
                }
                if (counts && valid && is_fp8(side.dtype)) saturated += count_saturated(c, side.dtype);
                store_row(c, side.dtype, to + place.quotient * view.block_stride + place.remainder * side.slot_stride,
                          valid);
            }
        }
    }
    if (counts) add_of_warp(reinterpret_cast<uint64_t*>(args.saturated.ptr) + (of_v ? 1 : 0), saturated);
}

}  // namespace

KV8_KERNEL(kv8_write_kernel, WriteParams::kThreads, WriteParams::kResident, WriteParams) {
    const int step = blocks() > 1 ? 2 : 1;  // a single block has both sides' rows
    for (int side = block() % 2; side < 2; side += step) {
        const bool of_v = side != 0;
        const Reading reading = reading_of(params, of_v);
        if (reading == Reading::kPlain)
            write_side<Reading::kPlain>(params, of_v);
        else if (reading == Reading::kTurning)
            write_side<Reading::kTurning>(params, of_v);
        else
            write_side<Reading::kAny>(params, of_v);
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
            Chunk c = valid ? get_row(src, from, source, params.fault) : chunk_of(0.0f);
            if (is_fp8(to.dtype)) divide_row(c, dst, to, target, valid, share.threads, params.fault);
            store_row(c, to.dtype, cache_chunk(dst, to, target), valid);
        } else if (valid) {
            copy_chunk(cache_chunk(dst, to, target), cache_chunk(src, from, source), element_bytes(from.dtype));
            if (first == 0 && has_row_scales(from))
                store(row_scale(dst, to, target), load<uint32_t>(row_scale(src, from, source)));
        }
    }
}

}  // namespace kv8::gpu
