// Backends are kept for the life of the process: code that a plug-in has handed out (threads, thread-local destructors)
// may outlast any moment at which it could be unloaded.
#include "dispatch/registry.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>

#include <atomic>
#include <deque>

#include "cpu/backend.h"
#include "dispatch/error.h"

namespace kv8::dispatch {
namespace {

struct Registry {
    std::mutex turn;
    std::deque<kv8_backend> plugins;  // addresses stay valid while it grows
    std::unordered_map<uint64_t, std::shared_ptr<Device>> devices;
    std::atomic<uint64_t> next_handle{1};
};

// Never destroyed, so that threads which are still running at exit find it.
Registry& registry() {
    static Registry& instance = *new Registry;
    return instance;
}

template <class Handle>
Handle* to_handle(uint64_t number) {
    return reinterpret_cast<Handle*>(static_cast<uintptr_t>(number));
}

template <class Handle>
uint64_t to_number(const Handle* handle) {
    return static_cast<uint64_t>(reinterpret_cast<uintptr_t>(handle));
}

std::string canonical(const char* path) {
    char resolved[PATH_MAX];
    return realpath(path, resolved) == nullptr ? path : resolved;
}

bool is_complete(const kv8_backend_table& t) {
    return t.name && t.device_count && t.device_open && t.device_close && t.device_info && t.stream_create &&
           t.stream_wrap && t.stream_sync && t.stream_destroy && t.alloc && t.free && t.copy && t.fill &&
           t.graph_begin && t.graph_end && t.graph_launch && t.graph_destroy && t.cast && t.amax && t.write &&
           t.gather && t.move_blocks && t.attention_plan && t.attention && t.merge_states && t.matmul && t.rms_norm &&
           t.rope && t.gate_mul && t.softcap && t.embedding && t.sample;
}

const kv8_backend_table* table_of(void* library, const char* path) {
    auto entry = reinterpret_cast<kv8_plugin_entry>(dlsym(library, KV8_PLUGIN_ENTRY));
    if (entry == nullptr)
        refuse(
            KV8_ABI_MISMATCH,
            "%s can be opened but exports no %s: it is not a kv8 plug-in, or one for another version of kv8. Use the "
            "plug-in of ABI version %d.",
            path, KV8_PLUGIN_ENTRY, KV8_ABI_VERSION);
    remember_failure(KV8_OK, "it gave no reason");
    const kv8_backend_table* table = entry(remember_failure);
    if (table == nullptr) refuse(KV8_LIBRARY_MISSING, "The plug-in %s cannot work here: %s", path, last_failure());
    if (table->abi_version != KV8_ABI_VERSION)
        refuse(KV8_ABI_MISMATCH,
               "The plug-in %s has ABI version %u; this library needs version %d. Use the two of one release.", path,
               table->abi_version, KV8_ABI_VERSION);
    if (table->struct_size != sizeof(kv8_backend_table) || !is_complete(*table))
        refuse(KV8_ABI_MISMATCH,
               "The plug-in %s says ABI version %d, but its table of functions (%u bytes, %zu expected) is not that "
               "version's.",
               path, KV8_ABI_VERSION, table->struct_size, sizeof(kv8_backend_table));
    return table;
}

[[noreturn]] void refuse_device(const kv8_device* handle) {
    refuse(KV8_INVALID_ARGUMENT, "device %p is not open: it was closed, or never came from kv8_device_open.",
           static_cast<const void*>(handle));
}

std::shared_ptr<Device> find_device(const kv8_device* handle) {
    if (handle == nullptr) refuse(KV8_INVALID_ARGUMENT, "device is null; pass a handle from kv8_device_open.");
    Registry& all = registry();
    std::lock_guard<std::mutex> lock(all.turn);
    auto found = all.devices.find(to_number(handle));
    if (found == all.devices.end()) refuse_device(handle);
    return found->second;
}

[[noreturn]] void refuse_handle(const kv8_stream* handle) {
    refuse(KV8_INVALID_ARGUMENT,
           "stream %p is not a stream of this device: it was destroyed, or belongs to another one.",
           static_cast<const void*>(handle));
}

[[noreturn]] void refuse_handle(const kv8_graph* handle) {
    refuse(KV8_INVALID_ARGUMENT, "graph %p is not a graph of this device: it was destroyed, or belongs to another one.",
           static_cast<const void*>(handle));
}

// Streams and graphs alike. The first two are called with the device's turn.

template <class Impl, class Handle>
Held<Impl>& find(std::unordered_map<uint64_t, Held<Impl>>& all, const Handle* handle) {
    auto found = all.find(to_number(handle));
    if (found == all.end() || found->second.destroyed) refuse_handle(handle);
    return found->second;
}

template <class Impl, class Handle>
Held<Impl>* take(std::unordered_map<uint64_t, Held<Impl>>& all, const Handle* handle) {
    Held<Impl>& held = find(all, handle);
    held.calls++;
    return &held;
}

template <class Handle, class Impl>
Handle* add(Device& device, std::unordered_map<uint64_t, Held<Impl>>& all, Impl* impl) {
    const uint64_t number = registry().next_handle++;
    std::lock_guard<std::mutex> lock(device.turn);
    all.emplace(number, Held<Impl>{impl});
    return to_handle<Handle>(number);
}

template <class Impl, class Handle>
Impl* remove(Device& device, std::unordered_map<uint64_t, Held<Impl>>& all, const Handle* handle) {
    std::unique_lock<std::mutex> lock(device.turn);
    Held<Impl>& held = find(all, handle);
    held.destroyed = true;
    device.idle.wait(lock, [&] { return held.calls == 0; });
    Impl* const impl = held.impl;
    all.erase(to_number(handle));
    return impl;
}

}  // namespace

kv8_backend& cpu_backend() {
    static kv8_backend& backend = *new kv8_backend{cpu::backend_table(remember_failure), ""};
    return backend;
}

kv8_backend& load_backend(const char* path) {
    if (path == nullptr || *path == 0)
        refuse(KV8_INVALID_ARGUMENT, "path is null or empty; pass the plug-in's file name.");
    std::string key = canonical(path);
    Registry& all = registry();
    std::lock_guard<std::mutex> lock(all.turn);
    for (kv8_backend& known : all.plugins)
        if (known.path == key) return known;
    void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
        const char* reason = dlerror();
        refuse(KV8_LIBRARY_MISSING, "The plug-in %s cannot be opened: %s", path, reason ? reason : "no reason given");
    }
    try {
        all.plugins.push_back({table_of(library, path), std::move(key)});
    } catch (...) {
        dlclose(library);
        throw;
    }
    return all.plugins.back();
}

const kv8_backend& find_backend(const kv8_backend* backend) {
    if (backend == &cpu_backend()) return *backend;
    Registry& all = registry();
    std::lock_guard<std::mutex> lock(all.turn);
    for (const kv8_backend& known : all.plugins)
        if (&known == backend) return known;
    refuse(KV8_INVALID_ARGUMENT, "backend %p is not known; pass one from kv8_backend_cpu or kv8_backend_load.",
           static_cast<const void*>(backend));
}

DeviceCall::DeviceCall(const kv8_device* handle) : device_(find_device(handle)) {
    std::lock_guard<std::mutex> lock(device_->turn);
    if (device_->closed) refuse_device(handle);
    device_->calls++;
}

DeviceCall::~DeviceCall() {
    std::lock_guard<std::mutex> lock(device_->turn);
    if (stream_ != nullptr) stream_->calls--;
    if (graph_ != nullptr) graph_->calls--;
    device_->calls--;
    if (device_->closed || (stream_ != nullptr && stream_->destroyed) || (graph_ != nullptr && graph_->destroyed))
        device_->idle.notify_all();
}

kv8_impl_stream* DeviceCall::stream(const kv8_stream* handle) {
    if (handle == nullptr) return nullptr;
    std::lock_guard<std::mutex> lock(device_->turn);
    stream_ = take(device_->streams, handle);
    return stream_->impl;
}

kv8_stream* DeviceCall::add_stream(kv8_impl_stream* stream) const {
    return add<kv8_stream>(*device_, device_->streams, stream);
}

kv8_impl_stream* DeviceCall::remove_stream(const kv8_stream* handle) const {
    return remove(*device_, device_->streams, handle);
}

kv8_impl_graph* DeviceCall::graph(const kv8_graph* handle) {
    std::lock_guard<std::mutex> lock(device_->turn);
    graph_ = take(device_->graphs, handle);
    return graph_->impl;
}

kv8_graph* DeviceCall::add_graph(kv8_impl_graph* graph) const {
    return add<kv8_graph>(*device_, device_->graphs, graph);
}

kv8_impl_graph* DeviceCall::remove_graph(const kv8_graph* handle) const {
    return remove(*device_, device_->graphs, handle);
}

kv8_device* add_device(const kv8_backend& backend, kv8_impl_device* impl) {
    auto device = std::make_shared<Device>();
    device->table = backend.table;
    device->impl = impl;
    Registry& all = registry();
    uint64_t number = all.next_handle++;
    std::lock_guard<std::mutex> lock(all.turn);
    all.devices.emplace(number, std::move(device));
    return to_handle<kv8_device>(number);
}

kv8_status close_device(const kv8_device* handle) {
    std::shared_ptr<Device> device = find_device(handle);
    {
        std::unique_lock<std::mutex> lock(device->turn);
        if (device->closed) refuse_device(handle);
        device->closed = true;
        device->idle.wait(lock, [&] { return device->calls == 0; });
    }
    {
        std::lock_guard<std::mutex> lock(registry().turn);
        registry().devices.erase(to_number(handle));
    }
    for (auto& graph : device->graphs) device->table->graph_destroy(device->impl, graph.second.impl);
    for (auto& stream : device->streams) device->table->stream_destroy(device->impl, stream.second.impl);
    return device->table->device_close(device->impl);
}

}  // namespace kv8::dispatch
