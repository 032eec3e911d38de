// The functions of kv8_plugin.h on any driver: what the CUDA, HIP and emulator plug-ins export.
#pragma once

#include "gpu/host/driver.h"
#include "kv8/kv8_plugin.h"

namespace kv8::gpu {

// The driver lives as long as the library. A library has one table: there is one driver in each.
const kv8_backend_table* backend_table(Driver& driver, kv8_fail fail);

}  // namespace kv8::gpu
