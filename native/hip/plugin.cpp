// What libkv8_rocm.so exports.
#include "dispatch/error.h"
#include "gpu/host/backend.h"
#include "hip/driver.h"

extern "C" __attribute__((visibility("default"))) const kv8_backend_table* kv8_plugin_v1(kv8_fail fail) {
    const kv8_backend_table* table = nullptr;
    kv8::guarded(fail, [&] {
        static kv8::hip::Driver& driver = *new kv8::hip::Driver;  // as long as the library: devices may outlive exit
        table = kv8::gpu::backend_table(driver, fail);
        return kv8_status{KV8_OK};
    });
    return table;
}
