// A backend in a plug-in of its own, for tests of how plug-ins are found, opened and called. Its memory is the host's; it has
// one kernel, rms_norm, which fills out with the call's number, and refuses all others. Macros make the variants that the
// dispatcher must refuse.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "gate.h"
#include "kv8/kv8_plugin.h"

#ifndef ABI_VERSION
#define ABI_VERSION KV8_ABI_VERSION
#endif
#ifndef DEVICES
#define DEVICES 2
#endif
#ifndef ENTRY
#define ENTRY kv8_plugin_v1
#endif

struct kv8_impl_device {
    std::string blas_library;  // what the device was opened with, told as its driver
    int32_t calls = 0;
    uint64_t allocated = 0;
};

struct kv8_impl_stream {
    uint64_t native;
};

struct kv8_impl_graph {
    int32_t launches = 0;
};

namespace {

kv8_fail report;

void* pointer(uint64_t ptr) { return reinterpret_cast<void*>(ptr); }

kv8_status device_count(int32_t* count) {
    *count = DEVICES;
    return KV8_OK;
}

kv8_status device_open(const kv8_device_options* options, kv8_impl_device** out) {
    if (options->ordinal == 1) return report(KV8_DEVICE_ERROR, "the second device of the test plug-in is broken");
    *out = new kv8_impl_device;
    if (options->blas_library != nullptr) (*out)->blas_library = options->blas_library;
    return KV8_OK;
}

kv8_status device_close(kv8_impl_device* device) {
    delete device;
    return KV8_OK;
}

kv8_status device_info(kv8_impl_device* device, kv8_device_info* info) {
    std::memset(info, 0, sizeof(*info));
    info->struct_size = sizeof(*info);
    std::snprintf(info->name, sizeof(info->name), "test device");
    std::snprintf(info->arch, sizeof(info->arch), "none");
    std::snprintf(info->driver, sizeof(info->driver), "%s", device->blas_library.c_str());
    info->allocated_bytes = device->allocated;
    info->host_accessible = 1;
    return KV8_OK;
}

kv8_status stream_wrap(kv8_impl_device*, uint64_t native, kv8_impl_stream** out) {
    *out = new kv8_impl_stream{native};
    return KV8_OK;
}

kv8_status stream_create(kv8_impl_device* device, kv8_impl_stream** out) { return stream_wrap(device, 0, out); }

Gate* gate_of(const kv8_impl_stream* stream) {
    constexpr uint64_t kNoAddress = 1 << 16;
    return stream == nullptr || stream->native < kNoAddress ? nullptr : static_cast<Gate*>(pointer(stream->native));
}

// Says which stream it was given, so that a test sees the one it wrapped.
kv8_status stream_sync(kv8_impl_device*, kv8_impl_stream* stream) {
    if (stream == nullptr || stream->native == 0) return KV8_OK;
    if (Gate* gate = gate_of(stream)) {
        gate->pass();
        return stream->native == gate->address() ? KV8_OK : report(KV8_DEVICE_ERROR, "the stream is gone");
    }
    char message[64];
    std::snprintf(message, sizeof(message), "stream %llu is stuck", static_cast<unsigned long long>(stream->native));
    return report(KV8_DEVICE_ERROR, message);
}

kv8_status stream_destroy(kv8_impl_device*, kv8_impl_stream* stream) {
    delete stream;
    return KV8_OK;
}

kv8_status alloc(kv8_impl_device* device, uint64_t bytes, int32_t, uint64_t* out) {
    void* memory = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (memory == nullptr) return report(KV8_OUT_OF_MEMORY, "the host has no memory left");
    device->allocated += bytes;
    *out = reinterpret_cast<uint64_t>(memory);
    return KV8_OK;
}

kv8_status release(kv8_impl_device*, uint64_t ptr) {
    std::free(pointer(ptr));
    return KV8_OK;
}

kv8_status copy(kv8_impl_device*, kv8_impl_stream*, kv8_span dst, kv8_span src) {
    std::memcpy(pointer(dst.ptr), pointer(src.ptr), src.bytes);
    return KV8_OK;
}

kv8_status fill(kv8_impl_device*, kv8_impl_stream*, kv8_span dst, uint8_t value) {
    std::memset(pointer(dst.ptr), value, dst.bytes);
    return KV8_OK;
}

// A graph records nothing, and its third launch fails, so that a test sees which graph was launched.
kv8_status graph_begin(kv8_impl_device*, kv8_impl_stream*) { return KV8_OK; }

kv8_status graph_end(kv8_impl_device*, kv8_impl_stream*, kv8_impl_graph** out) {
    *out = new kv8_impl_graph;
    return KV8_OK;
}

kv8_status graph_launch(kv8_impl_device*, kv8_impl_stream* stream, kv8_impl_graph* graph) {
    if (Gate* gate = gate_of(stream)) gate->pass();
    return ++graph->launches < 3 ? KV8_OK : report(KV8_DEVICE_ERROR, "the graph is tired of its 3rd launch");
}

kv8_status graph_destroy(kv8_impl_device*, kv8_impl_graph* graph) {
    delete graph;
    return KV8_OK;
}

kv8_status rms_norm(kv8_impl_device* device, kv8_impl_stream*, const kv8_rms_norm_args* args) {
    const float call = static_cast<float>(++device->calls);
    for (int32_t i = 0; i < args->width; i++)
        std::memcpy(static_cast<char*>(pointer(args->out.data.ptr)) + i * sizeof(call), &call, sizeof(call));
    return KV8_OK;
}

template <class Args>
kv8_status unsupported(kv8_impl_device*, kv8_impl_stream*, Args*) {
    return report(KV8_UNSUPPORTED, "the test plug-in has no such kernel");
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const kv8_backend_table* ENTRY(kv8_fail fail) {
    report = fail;
    static kv8_backend_table table;
    table.abi_version = ABI_VERSION;
    table.struct_size = sizeof(table);
    table.name = "test";
    table.device_count = device_count;
    table.device_open = device_open;
    table.device_close = device_close;
    table.device_info = device_info;
    table.stream_create = stream_create;
    table.stream_wrap = stream_wrap;
    table.stream_sync = stream_sync;
    table.stream_destroy = stream_destroy;
    table.alloc = alloc;
    table.free = release;
    table.copy = copy;
    table.fill = fill;
    table.graph_begin = graph_begin;
    table.graph_end = graph_end;
    table.graph_launch = graph_launch;
    table.graph_destroy = graph_destroy;
    table.cast = unsupported;
    table.amax = unsupported;
    table.write = unsupported;
    table.gather = unsupported;
    table.move_blocks = unsupported;
    table.attention_plan = unsupported;
    table.attention = unsupported;
    table.merge_states = unsupported;
    table.matmul = unsupported;
    table.rms_norm = rms_norm;
    table.rope = unsupported;
    table.gate_mul = unsupported;
    table.softcap = unsupported;
    table.embedding = unsupported;
#ifndef WITHOUT_SAMPLE
    table.sample = unsupported;
#endif
#ifdef REFUSES_TO_LOAD
    fail(KV8_LIBRARY_MISSING, "libtestdriver.so.1 is not installed");
    return nullptr;
#else
    return &table;
#endif
}
