// The CPU, the dispatcher's test plug-ins, and devices of theirs.
#pragma once

#include <string>

#include "refusals.h"

namespace kv8_test {

inline std::string plugin(const char* name) { return std::string(KV8_TEST_PLUGINS) + "/lib" + name + ".so"; }

inline kv8_backend* load(const char* name) {
    kv8_backend* backend = nullptr;
    EXPECT_EQ(kv8_backend_load(plugin(name).c_str(), &backend), KV8_OK) << kv8_last_error();
    return backend;
}

inline kv8_backend* cpu() {
    kv8_backend* backend = nullptr;
    EXPECT_EQ(kv8_backend_cpu(&backend), KV8_OK);
    return backend;
}

inline kv8_device_options options(int32_t threads = 1, const char* isa = nullptr) {
    kv8_device_options o{};
    o.struct_size = sizeof(o);
    o.threads = threads;
    o.isa = isa;
    return o;
}

inline kv8_device* open(kv8_backend* backend, kv8_device_options o = options()) {
    kv8_device* device = nullptr;
    EXPECT_EQ(kv8_device_open(backend, &o, &device), KV8_OK) << kv8_last_error();
    return device;
}

inline kv8_device_info info_of(kv8_device* device) {
    kv8_device_info info{};
    info.struct_size = sizeof(info);
    EXPECT_EQ(kv8_device_get_info(device, &info), KV8_OK) << kv8_last_error();
    return info;
}

}  // namespace kv8_test
