// Who exists: the loaded backends and the open devices with their streams. Device, stream and graph handles are numbers that
// are never used twice, looked up in every call, so that a stale or invented handle is refused instead of followed.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
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

// A stream or graph of a device.
template <class Impl>
struct Held {
    Impl* impl;
    int64_t calls = 0;       // that were made with its handle, running now; destroying waits for them
    bool destroyed = false;  // no more calls
};

struct Device {
    const kv8_backend_table* table;
    kv8_impl_device* impl;
    std::mutex turn;  // guards what follows
    std::condition_variable idle;
    int64_t calls = 0;    // running now; closing waits for them
    bool closed = false;  // no more calls
    std::unordered_map<uint64_t, Held<kv8_impl_stream>> streams;
    std::unordered_map<uint64_t, Held<kv8_impl_graph>> graphs;
};

// An open device for the length of a call, with a stream and a graph of it at most.
class DeviceCall {
  public:
    explicit DeviceCall(const kv8_device* handle);
    ~DeviceCall();
    DeviceCall(const DeviceCall&) = delete;
    DeviceCall& operator=(const DeviceCall&) = delete;

    const kv8_backend_table& table() const { return *device_->table; }
    kv8_impl_device* impl() const { return device_->impl; }
    kv8_impl_stream* stream(const kv8_stream* handle);  // null for the default stream

    kv8_stream* add_stream(kv8_impl_stream* stream) const;
    kv8_impl_stream* remove_stream(const kv8_stream* handle) const;  // when no other call has it

    kv8_impl_graph* graph(const kv8_graph* handle);
    kv8_graph* add_graph(kv8_impl_graph* graph) const;
    kv8_impl_graph* remove_graph(const kv8_graph* handle) const;  // when no other call has it

  private:
    std::shared_ptr<Device> device_;
    Held<kv8_impl_stream>* stream_ = nullptr;
    Held<kv8_impl_graph>* graph_ = nullptr;
};

kv8_device* add_device(const kv8_backend& backend, kv8_impl_device* impl);
kv8_status close_device(const kv8_device* handle);

}  // namespace kv8::dispatch
