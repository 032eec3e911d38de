#include "gpu/host/fault_report.h"

#include <cstring>

#include "dispatch/error.h"

namespace kv8::gpu {
namespace {

double number(int64_t bits) {
    const uint32_t word = static_cast<uint32_t>(bits);
    float value;
    std::memcpy(&value, &word, sizeof(value));
    return static_cast<double>(value);
}

[[noreturn]] void refuse_plan(int64_t how, long long value, long long most) {
    constexpr const char kSmaller[] =
        "a graph's plan may be for a smaller batch than the captured one, not for a larger";
    switch (how) {
        case kTooManySequences:
            refuse(KV8_INVALID_ARGUMENT, "plan is for %lld sequences; the call was made for %lld: %s.", value, most,
                   kSmaller);
        case kTooManyQueries:
            refuse(KV8_INVALID_ARGUMENT, "plan is for %lld queries; the call was made for %lld: %s.", value, most,
                   kSmaller);
        case kTooManyKeys:
            refuse(KV8_INVALID_ARGUMENT, "plan has a sequence of %lld keys; the call's block table holds %lld.", value,
                   most);
        default:
            refuse(KV8_INVALID_ARGUMENT,
                   "plan does not hold what kv8_attention_plan wrote there for the call's heads and head size; the "
                   "workspace must stay untouched until the last layer's attention has completed.");
    }
}

}  // namespace

void refuse_fault(const Fault& fault) {
    const kv8_status status = KV8_INVALID_ARGUMENT;
    const long long index = fault.index, value = fault.value, last = fault.limit - 1;
    switch (fault.kind) {
        case kBadSlot:
            refuse(status, "slots[%lld] is %lld; the cache has slots 0 to %lld, and -1 skips a token.", index, value,
                   last);
        case kBadBlock:
            refuse(
                status,
                "Block table entry %lld of sequence %u is %lld, but a visible key is in it and the cache's blocks are "
                "0 to %lld.",
                index, fault.other, value, last);
        case kBadPosition:
            refuse(status, "rope.positions[%lld] is %lld; the table has positions 0 to %lld.", index, value, last);
        case kBadTokenId:
            refuse(status, "ids[%lld] is %lld; the vocabulary has ids 0 to %lld.", index, value, last);
        case kBadScale:
            refuse(status,
                   "chan of head %u, channel %lld is %g; a scale is finite, positive and normal, and so is its "
                   "reciprocal: "
                   "2^-126 to 2^126.",
                   fault.other, index, number(value));
        case kBadSource:
            refuse(status, "pairs[%lld] reads block %lld; src has blocks 0 to %lld.", index, value, last);
        case kBadTarget:
            refuse(status, "pairs[%lld] writes block %lld; dst has blocks 0 to %lld.", index, value, last);
        case kBadTemperature:
            refuse(status, "sampling[%lld].temperature is %g; it must be finite and at least 0.", index, number(value));
        case kBadTopP:
            refuse(status, "sampling[%lld].top_p is %g; it must be above 0 and at most 1.", index, number(value));
        case kBadTopK:
            refuse(status, "sampling[%lld].top_k is %lld; it must be positive, or 0 for all.", index, value);
        case kBadUniform:
            refuse(status, "sampling[%lld].uniform is %g; it must be at least 0 and below 1.", index, number(value));
        case kBadPlan:
            refuse_plan(fault.index, value, last);
        case kBadLogits:
            refuse(
                status,
                "logits of token %lld hold NaN or +infinity, or nothing finite; -infinity bars an id, all others must "
                "be finite.",
                index);
        default:
            refuse(KV8_INTERNAL_ERROR, "A kernel reported fault %u, which has no words.", fault.kind);
    }
}

}  // namespace kv8::gpu
