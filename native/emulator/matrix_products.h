// The emulated device's matrix products: loops on the host.
#pragma once

#include "kv8/kv8.h"

namespace kv8::emulator {

// Products and sums in float32, in one order whatever the number of rows; done when the call returns. Throws Refusal where
// the arguments name memory beyond an allocation.
void multiply(const kv8_matmul_args& args);

}  // namespace kv8::emulator
