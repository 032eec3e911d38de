// The driver of the emulated device: one device, whose work is done when a call returns.
#pragma once

#include "gpu/host/driver.h"

namespace kv8::emulator {

gpu::Driver& driver();

}  // namespace kv8::emulator
