// Draws a token from a row of logits: one block a row, weights and sums in float64, no sort and no room outside the
// block.
#include "gpu/ranked_row.h"
#include "gpu/report.h"

namespace kv8::gpu {
namespace {

// Reports what is illegal.
KV8_DEVICE bool is_legal(const kv8_sampling& s, int64_t token, Fault* fault) {
    FaultKind kind = kNoFault;
    int64_t value = 0;
    if (!(s.temperature >= 0.0f && s.temperature <= kFloatMax)) {
        kind = kBadTemperature;
        value = bits_of(s.temperature);
    } else if (!(s.top_p > 0.0f && s.top_p <= 1.0f)) {
        kind = kBadTopP;
        value = bits_of(s.top_p);
    } else if (s.top_k < 0) {
        kind = kBadTopK;
        value = s.top_k;
    } else if (!(s.uniform >= 0.0f && s.uniform < 1.0f)) {
        kind = kBadUniform;
        value = bits_of(s.uniform);
    }
    if (kind != kNoFault && thread() == 0) report(fault, kind, token, value);
    return kind == kNoFault;
}

// The place that ranks first; rows with NaN or +infinity are illegal, and rows of nothing but -infinity.
struct Largest {
    uint32_t key;
    int32_t id;
    bool legal;

    KV8_DEVICE void take(uint32_t other_key, int32_t other_id) {
        if (other_key < key || (other_key == key && other_id >= id)) return;
        key = other_key;
        id = other_id;
    }
};

KV8_DEVICE Largest largest_of(const LogitRow& row) {
    Largest l = {0, INT32_MAX, true};
    row.for_each_chunk([&](int64_t first, const Chunk& c, int64_t count) {
#pragma unroll
        for (int i = 0; i < kChunk; i++) {
            if (i >= count) continue;
            l.legal &= c.x[i] <= kFloatMax;  // neither +infinity nor NaN
            l.take(key_of(c.x[i]), int32_t(first) + i);
        }
    });
    for (int mask = kLanes / 2; mask > 0; mask /= 2) l.take(shuffle_xor(l.key, mask), shuffle_xor(l.id, mask));
    const bool warp_is_legal = !any_lane(!l.legal);
    constexpr int kWarps = SampleParams::kThreads / kLanes;
    const Shared own = {uint32_t(12 * warp())};
    if (lane() == 0) {
        store(own, l.key);
        store(own + 4, l.id);
        store(own + 8, uint32_t(warp_is_legal));
    }
    sync_block();
    l = {0, INT32_MAX, true};
    for (int i = 0; i < kWarps; i++) {
        l.take(load<uint32_t>(Shared{uint32_t(12 * i)}), load<int32_t>(Shared{uint32_t(12 * i + 4)}));
        l.legal &= load<uint32_t>(Shared{uint32_t(12 * i + 8)}) != 0;
    }
    sync_block();
    l.legal &= l.key > kBarredKey;
    return l;
}

// Narrows the candidates to the top k, those to the nucleus, and draws from that: each is a search for a place.
KV8_DEVICE int32_t draw(const LogitRow& row, uint32_t largest, const kv8_sampling& s) {
    enum Step { kTopK, kTopP, kDraw, kSteps };
    Candidates candidates = {kBarredKey, 0};
    RankedPlace place = {largest, 0};
#pragma unroll 1
    for (int step = kTopK; step < kSteps; step++) {
        if (step == kTopK && (s.top_k == 0 || s.top_k >= row.vocabulary)) continue;
        if (step == kTopP && s.top_p == 1.0f) continue;
        const Measure measure = {step == kTopK, double(logit_of(largest)), 1.0 / double(s.temperature)};
        const double limit = step == kTopK ? double(s.top_k) : double(step == kTopP ? s.top_p : s.uniform);
        place = find_place(row, largest, candidates, {measure, step != kDraw, step != kTopK, limit});
        candidates = {place.key, place.rank + 1};
    }
    return id_at(row, place);
}

}  // namespace

KV8_KERNEL(kv8_sample_kernel, SampleParams::kThreads, SampleParams::kResident, SampleParams) {
    const kv8_sample_args& args = params.args;
    const int64_t token = block();
    const uint8_t* at = address_of(args.sampling) + token * int64_t(sizeof(kv8_sampling));
    const kv8_sampling s = {load<float>(at), load<float>(at + 4), load<int32_t>(at + 8), load<float>(at + 12)};
    int32_t id = -1;
    if (is_legal(s, token, params.fault)) {
        const LogitRow row = {row_at(args.logits, token, 0), args.logits.dtype, args.vocabulary};
        const Largest largest = largest_of(row);
        if (!largest.legal) {
            if (thread() == 0) report(params.fault, kBadLogits, token, 0);
        } else {
            id = s.temperature == 0.0f ? largest.id : draw(row, largest.key, s);
        }
    }
    if (thread() == 0) store(address_of(args.ids) + 4 * token, id);
}

}  // namespace kv8::gpu
