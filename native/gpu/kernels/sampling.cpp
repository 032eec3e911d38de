// Draws a token from a row of logits: one block a row, weights and sums in float64, no sort and no room outside the block.
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
    row.for_each([&](int32_t id, float logit) {
        l.legal &= logit <= kFloatMax;  // neither +infinity nor NaN
        l.take(key_of(logit), id);
    });
    for (int mask = kLanes / 2; mask > 0; mask /= 2) l.take(shuffle_xor(l.key, mask), shuffle_xor(l.id, mask));
    const bool warp_is_legal = !any_lane(!l.legal);
    constexpr int kWarps = SampleParams::kThreads / kLanes;
    if (lane() == 0) {
        store(Shared{uint32_t(12 * warp())}, l.key);
        store(Shared{uint32_t(12 * warp() + 4)}, l.id);
        store(Shared{uint32_t(12 * warp() + 8)}, uint32_t(warp_is_legal));
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

KV8_DEVICE int32_t draw(const LogitRow& row, uint32_t largest, const kv8_sampling& s) {
    const Weight weight = {double(logit_of(largest)), 1.0 / double(s.temperature)};
    Candidates candidates = {kBarredKey, 0};
    if (s.top_k > 0 && s.top_k < row.vocabulary) {
        const RankedPlace last = find_place<true>(row, largest, candidates, One{}, s.top_k, true);
        candidates = {last.key, last.rank + 1};
    }
    if (s.top_p < 1.0f) {
        const RankedPlace last = find_place<true>(row, largest, candidates, weight, double(s.top_p), false);
        candidates = {last.key, last.rank + 1};
    }
    return id_at(row, find_place<false>(row, largest, candidates, weight, double(s.uniform), false));
}

}  // namespace

KV8_KERNEL(kv8_sample_kernel, SampleParams::kThreads, SampleParams::kResident, SampleParams) {
    const kv8_sample_args& args = params.args;
    for (int64_t token = block(); token < args.tokens; token += blocks()) {
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
}

}  // namespace kv8::gpu
