// What a kernel found wrong, in the words that the CPU backend has for it.
#pragma once

#include "gpu/faults.h"

namespace kv8::gpu {

[[noreturn]] void refuse_fault(const Fault& fault);

}  // namespace kv8::gpu
