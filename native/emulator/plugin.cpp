// The emulator as a backend: the host side of the GPU backends on the emulator's driver.
#include "emulator/driver.h"
#include "gpu/host/backend.h"

extern "C" KV8_API const kv8_backend_table* kv8_plugin_v1(kv8_fail fail) {
    return kv8::gpu::backend_table(kv8::emulator::driver(), fail);
}
