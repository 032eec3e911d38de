// What kernels find wrong in device memory, where the host cannot look without waiting: the offending element is skipped, so
// nothing outside a buffer is touched, and the first offender of a device is kept here until a stream is synchronized, which
// reports it. Lies in pinned host memory that kernels can write.
#pragma once

#include <stdint.h>

namespace kv8::gpu {

enum FaultKind : uint32_t {
    kNoFault = 0,
    kBadSlot,         // index: token, value: slot; allowed 0..limit-1 and -1
    kBadBlock,        // index: entry, other: sequence, value: block id; allowed 0..limit-1
    kBadPosition,     // index: token, value: position; allowed 0..limit-1
    kBadTokenId,      // index: token, value: id; allowed 0..limit-1
    kBadScale,        // index: channel, other: head, value: the float's bits
    kBadSource,       // index: pair, value: block id; allowed 0..limit-1
    kBadTarget,       // index: pair, value: block id; allowed 0..limit-1
    kBadTemperature,  // index: token, value: the float's bits
    kBadTopP,         // index: token, value: the float's bits
    kBadTopK,         // index: token, value: top_k
    kBadUniform,      // index: token, value: the float's bits
    kBadPlan,         // index: of BadPlan, value: the plan's number; allowed up to limit-1
    kBadLogits,       // index: token
};

// What is wrong with a plan: the workspace holds none for the call's shape, or one for more than its spans hold.
enum BadPlan : uint32_t { kNoPlan, kTooManySequences, kTooManyQueries, kTooManyKeys };

struct Fault {
    uint32_t kind;  // of FaultKind; claimed atomically by the first offender, who fills the rest
    uint32_t other;
    int64_t index;
    int64_t value;
    int64_t limit;
};

}  // namespace kv8::gpu
