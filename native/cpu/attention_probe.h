// How fast a processor runs attention kernels, measured.
#pragma once

#include "cpu/kernels.h"

namespace kv8::cpu {

double seconds_now();

// Whether a decode step of 16-bit queries over an FP8 cache takes clearly less time with `a` than with `b`, and so much less that
// it does in the next process too: the two differ in their last bits. `now` is a clock in seconds. Some 0.2 ms.
bool is_clearly_faster(const AttentionKernels& a, const AttentionKernels& b, double (*now)() = seconds_now);

}  // namespace kv8::cpu
