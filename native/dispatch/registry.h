// Who exists: the loaded backends and the open devices with their streams. Device and stream handles are numbers that are
// never used twice, looked up in every call, so that a stale or invented handle is refused instead of followed.
#pragma once

#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <unordered_map>

#include "kv8/kv8_plugin.h"

struct kv8_backend {
    const kv8_backend_table* table;
    std::string path;  // empty: built in
};

namespace kv8::dispatch {

kv8_backend& cpu_backend();
kv8_backend& load_backend(const char* path);
const kv8_backend& find_backend(const kv8_backend* backend);

struct Device {
    const kv8_backend_table* table;
    kv8_impl_device* impl;
    std::shared_mutex gate;  // shared by calls; closing takes it alone, so it waits for calls that run
    bool closed = false;
    std::mutex streams_turn;
    std::unordered_map<uint64_t, kv8_impl_stream*> streams;
};

// An open device for the length of a call.
class DeviceCall {
  public:
    explicit DeviceCall(const kv8_device* handle);
    const kv8_backend_table& table() const { return *device_->table; }
    kv8_impl_device* impl() const { return device_->impl; }
    kv8_impl_stream* stream(const kv8_stream* handle) const;  // null for the default stream

    kv8_stream* add_stream(kv8_impl_stream* stream) const;
    kv8_impl_stream* remove_stream(const kv8_stream* handle) const;

  private:
    std::shared_ptr<Device> device_;
    std::shared_lock<std::shared_mutex> open_;
};

kv8_device* add_device(const kv8_backend& backend, kv8_impl_device* impl);
kv8_status close_device(const kv8_device* handle);

}  // namespace kv8::dispatch
