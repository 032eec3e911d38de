// Which instruction set's kernels a device uses.
#pragma once

#include "cpu/kernels.h"

namespace kv8::cpu {

// The kernels named by `requested`, if null by KV8_ISA of the environment, else the best that this processor runs: one that
// only some processors run fast is timed first, once in a process. An unknown or unsupported name throws a Refusal that
// lists what works here.
const Kernels& choose_kernels(const char* requested);

}  // namespace kv8::cpu
