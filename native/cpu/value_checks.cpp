#include "cpu/value_checks.h"

#include <algorithm>
#include <cmath>

#include "dispatch/error.h"
#include "dispatch/extents.h"
#include "fp8/fp8.h"

namespace kv8::cpu {
namespace {

template <class T>
const T* at(const kv8_span& span) {
    return reinterpret_cast<const T*>(span.ptr);
}

// Written for the compiler to do many at a time: every call looks at all of a cache's channels.
bool are_legal(const float* scales, int32_t count) {
    int32_t illegal = 0;
    for (int32_t d = 0; d < count; d++) illegal |= !fp8::is_scale(scales[d]);
    return illegal == 0;
}

void check_scales_of_side(const char* name, char letter, const kv8_side& side, const kv8_cache_view& view) {
    if (side.chan.ptr == 0) return;
    const float* scales = at<float>(side.chan);
    const int32_t heads = side.chan_head_stride == 0 ? 1 : view.kv_heads;
    const int32_t channels = side.chan_dim_stride == 0 ? 1 : view.head_size;
    for (int32_t h = 0; h < heads; h++) {
        const float* of_head = scales + h * side.chan_head_stride;
        if (side.chan_dim_stride == 1 && are_legal(of_head, channels)) continue;
        for (int32_t d = 0; d < channels; d++) {
            const float scale = of_head[d * side.chan_dim_stride];
            if (!fp8::is_scale(scale))
                refuse(KV8_INVALID_ARGUMENT, "%s.%c.chan of head %d, channel %d is %g; %s.", name, letter, h, d,
                       static_cast<double>(scale), kScaleRule);
        }
    }
}

}  // namespace

void check_channel_scales(const char* name, const kv8_cache_view& view) {
    check_scales_of_side(name, 'k', view.k, view);
    check_scales_of_side(name, 'v', view.v, view);
}

void check_slots(const kv8_span& slots, int64_t tokens, const kv8_cache_view& view) {
    const int64_t* slot = at<int64_t>(slots);
    const int64_t end = static_cast<int64_t>(view.num_blocks) * view.block_size;
    for (int64_t t = 0; t < tokens; t++)
        if (slot[t] < -1 || slot[t] >= end)
            refuse(
                KV8_INVALID_ARGUMENT,
                "slots[%lld] is %lld; the cache's %d blocks of %d tokens have slots 0 to %lld, and -1 skips a token.",
                static_cast<long long>(t), static_cast<long long>(slot[t]), view.num_blocks, view.block_size,
                static_cast<long long>(end - 1));
}

void check_positions(const kv8_rope_table& rope, int64_t tokens) {
    if (rope.rotary_size == 0) return;
    const int32_t* position = at<int32_t>(rope.positions);
    const uint64_t rows = rope.table.bytes / (4 * static_cast<uint64_t>(rope.rotary_size));
    for (int64_t t = 0; t < tokens; t++)
        if (position[t] < 0 || static_cast<uint64_t>(position[t]) >= rows)
            refuse(KV8_INVALID_ARGUMENT, "rope.positions[%lld] is %d; the table of %llu bytes has positions 0 to %llu.",
                   static_cast<long long>(t), position[t], static_cast<unsigned long long>(rope.table.bytes),
                   static_cast<unsigned long long>(rows - 1));
}

void check_ids(const kv8_embedding_args& args) {
    const int32_t* id = at<int32_t>(args.ids);
    for (int64_t t = 0; t < args.tokens; t++)
        if (id[t] < 0 || id[t] >= args.vocabulary)
            refuse(KV8_INVALID_ARGUMENT, "ids[%lld] is %d; the vocabulary has ids 0 to %d.", static_cast<long long>(t),
                   id[t], args.vocabulary - 1);
}

void check_sampling(const kv8_sample_args& args) {
    const kv8_sampling* sampling = at<kv8_sampling>(args.sampling);
    for (int64_t t = 0; t < args.tokens; t++) {
        const kv8_sampling& s = sampling[t];
        if (!(s.temperature >= 0) || std::isinf(s.temperature))
            refuse(KV8_INVALID_ARGUMENT, "sampling[%lld].temperature is %g; it must be finite and at least 0.",
                   static_cast<long long>(t), static_cast<double>(s.temperature));
        if (!(s.top_p > 0 && s.top_p <= 1))
            refuse(KV8_INVALID_ARGUMENT, "sampling[%lld].top_p is %g; it must be above 0 and at most 1.",
                   static_cast<long long>(t), static_cast<double>(s.top_p));
        if (s.top_k < 0)
            refuse(KV8_INVALID_ARGUMENT, "sampling[%lld].top_k is %d; it must be positive, or 0 for all.",
                   static_cast<long long>(t), s.top_k);
        if (!(s.uniform >= 0 && s.uniform < 1))
            refuse(KV8_INVALID_ARGUMENT, "sampling[%lld].uniform is %g; it must be at least 0 and below 1.",
                   static_cast<long long>(t), static_cast<double>(s.uniform));
    }
}

void check_pairs(const kv8_move_blocks_args& args, std::vector<uint8_t>& marks) {
    const int32_t* pair = at<int32_t>(args.pairs);
    for (int64_t i = 0; i < args.count; i++) {
        const int32_t from = pair[2 * i], to = pair[2 * i + 1];
        if (from < 0 || from >= args.src->num_blocks)
            refuse(KV8_INVALID_ARGUMENT, "pairs[%lld] reads block %d; src has blocks 0 to %d.",
                   static_cast<long long>(i), from, args.src->num_blocks - 1);
        if (to < 0 || to >= args.dst->num_blocks)
            refuse(KV8_INVALID_ARGUMENT, "pairs[%lld] writes block %d; dst has blocks 0 to %d.",
                   static_cast<long long>(i), to, args.dst->num_blocks - 1);
    }
    // Where two views' bytes may be the same, blocks with one number are the same block.
    const kv8_span &from = args.src->memory, &to = args.dst->memory;
    const bool shared = overlap(from.ptr, from.bytes, to.ptr, to.bytes);
    const size_t blocks = static_cast<size_t>(std::max(args.src->num_blocks, args.dst->num_blocks));
    if (marks.size() < blocks) marks.resize(blocks);
    int64_t twice = -1, chained = -1;
    for (int64_t i = 0; i < args.count; i++) {
        uint8_t& mark = marks[static_cast<size_t>(pair[2 * i + 1])];
        if (mark) twice = i;
        mark = 1;
    }
    for (int64_t i = 0; shared && i < args.count; i++)
        if (marks[static_cast<size_t>(pair[2 * i])]) chained = i;
    for (int64_t i = 0; i < args.count; i++) marks[static_cast<size_t>(pair[2 * i + 1])] = 0;
    if (twice >= 0)
        refuse(KV8_INVALID_ARGUMENT, "pairs[%lld] writes block %d, as another pair does; destinations must differ.",
               static_cast<long long>(twice), pair[2 * twice + 1]);
    if (chained >= 0)
        refuse(KV8_INVALID_ARGUMENT,
               "pairs[%lld] reads block %d, which a pair of the same call writes; make two calls.",
               static_cast<long long>(chained), pair[2 * chained]);
}

}  // namespace kv8::cpu
