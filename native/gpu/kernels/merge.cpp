// Joins attention results over disjoint keys.
#include "gpu/elements.h"

namespace kv8::gpu {
namespace {

constexpr float kLn2 = 0.693147180559945309f;
constexpr uint32_t kNegativeInfinity = 0xFF800000u;

struct Factors {
    float a, b;  // sum to 1, or both are 0 where neither side has keys
    float lse;
};

KV8_DEVICE Factors factors_of(float lse_a, float lse_b) {
    const float nothing = float_of(kNegativeInfinity);
    const float most = lse_a > lse_b ? lse_a : lse_b;
    const float weight_a = lse_a == nothing ? 0.0f : exp_of_negative(lse_a - most);
    const float weight_b = lse_b == nothing ? 0.0f : exp_of_negative(lse_b - most);
    const float both = weight_a + weight_b;
    if (both == 0.0f) return {0.0f, 0.0f, nothing};
    return {divide(weight_a, both), divide(weight_b, both), most + log2_fast(both) * kLn2};
}

// A side that takes no part may hold anything.
KV8_DEVICE Chunk part_of(const kv8_rows& rows, int64_t token, int64_t head, int64_t first, int width, float factor) {
    if (factor == 0.0f) return chunk_of(0.0f);
    Chunk c = load_plain(rows.dtype, row_at(rows, token, head) + first * element_bytes(rows.dtype), width - first);
#pragma unroll
    for (int i = 0; i < kChunk; i++) c.x[i] *= factor;
    return c;
}

}  // namespace

KV8_KERNEL(kv8_merge_states_kernel, MergeStatesParams::kThreads, MergeStatesParams::kResident, MergeStatesParams) {
    const kv8_merge_states_args& args = params.args;
    const RowShare share(args.width, MergeStatesParams::kThreads);
    const int64_t rows = int64_t(args.tokens) * args.heads, step = int64_t(blocks()) * share.rows_in_block;
    // All of a warp go round as often: lse may lie where one side's does, so it is stored when all have read.
    for (int64_t first_row = int64_t(block()) * share.rows_in_block; first_row < rows; first_row += step) {
        const int64_t row = first_row + share.row;
        const bool valid = row < rows;
        const Division place = divided(row, args.heads);
        const int64_t token = place.quotient, head = place.remainder;
        Factors factors{};
        if (valid)
            factors = factors_of(load<float>(address_of(args.lse_a) + 4 * row),
                                 load<float>(address_of(args.lse_b) + 4 * row));
        sync_warp();
        for (int64_t chunk = share.chunk; valid && chunk < chunks_of(args.width); chunk += share.threads) {
            const int64_t first = chunk * kChunk;
            Chunk joined = part_of(args.a, token, head, first, args.width, factors.a);
            const Chunk b = part_of(args.b, token, head, first, args.width, factors.b);
#pragma unroll
            for (int i = 0; i < kChunk; i++) joined.x[i] += b.x[i];
            store_plain(args.out.dtype, row_at(args.out, token, head) + first * element_bytes(args.out.dtype), joined,
                        args.width - first);
        }
        if (valid && share.chunk == 0 && args.lse.ptr != 0) store(address_of(args.lse) + 4 * row, factors.lse);
    }
}

}  // namespace kv8::gpu
