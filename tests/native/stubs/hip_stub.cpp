// libamdhip64, as far as kv8 uses it: of ROCm 6 and later, or with ROCM_5 the one before, whose memory types have other
// numbers and whose device properties another layout.
#include <cstdio>
#include <cstring>

#include "stubs/stub.h"

using namespace kv8_test;

namespace {

constexpr Capture kRefused = Capture::kRefused;
std::string arch_of(const Stub& stub) { return (stub.arch.empty() ? "gfx942" : stub.arch) + ":sramecc+:xnack-"; }

int attribute(int which) {
    switch (which) {
        case 63:
            return 304;  // compute units
        case 74:
            return 64 << 10;  // shared memory of a block
        default:
            return -1;
    }
}

// A call that acts on the current device.
Entry on_device(const char* function, Capture capture = Capture::kAllowed) {
    if (kv8_stub()->current_device != 0) kv8_stub()->calls_without_device++;
    return Entry(function, capture);
}

int properties(const char* function, void* out, size_t bytes, size_t arch_at) {
    return Entry(function)([&](Stub& stub) {
        std::memset(out, 'x', bytes);
        std::strcpy(static_cast<char*>(out) + arch_at, arch_of(stub).c_str());
        return 0;
    });
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

int hipInit(unsigned) {
    return Entry(__func__)([](Stub& stub) { return stub.devices == 0 ? kNoDevice : 0; });
}

int hipRuntimeGetVersion(int* version) {
    return Entry(__func__)([&](Stub&) {
#ifdef ROCM_5
        *version = 50731921;
#else
        *version = 70051831;
#endif
        return 0;
    });
}

int hipGetDeviceCount(int* count) {
    return Entry(__func__)([&](Stub& stub) {
        *count = stub.devices;
        return 0;
    });
}

int hipDeviceGetName(char* name, int bytes, int device) {
    return Entry(__func__)([&](Stub&) {
        std::snprintf(name, static_cast<size_t>(bytes), "Stub GPU %d", device);
        return 0;
    });
}

int hipDeviceGetAttribute(int* value, int which, int) {
    return Entry(__func__)([&](Stub&) {
        *value = attribute(which);
        return *value < 0 ? kInvalidValue : 0;
    });
}

int hipDeviceTotalMem(size_t* bytes, int) {
    return Entry(__func__)([&](Stub& stub) {
        *bytes = stub.memory_bytes;
        return 0;
    });
}

#ifndef ROCM_5
int hipGetDevicePropertiesR0600(void* out, int) { return properties(__func__, out, 1472, 1160); }
#endif
int hipGetDeviceProperties(void* out, int) { return properties(__func__, out, 792, 396); }

int hipGetDevice(int* device) {
    return Entry(__func__)([&](Stub& stub) {
        *device = stub.current_device;
        return 0;
    });
}

int hipSetDevice(int device) {
    return Entry(__func__)([&](Stub& stub) {
        stub.current_device = device;
        return 0;
    });
}

int hipDeviceSynchronize() {
    return on_device(__func__, Capture::kRefusedToAll)([](Stub& stub) { return stub.synchronize_all(); });
}

int hipMemGetInfo(size_t* free, size_t* total) {
    return on_device(__func__)([&](Stub& stub) {
        *free = stub.memory_bytes / 2;
        *total = stub.memory_bytes;
        return 0;
    });
}

int hipModuleLoadData(uint64_t* module, const void* image) {
    return on_device(__func__, kRefused)(
        [&](Stub& stub) { return image == nullptr ? kInvalidValue : stub.create(stub.modules, module); });
}

int hipModuleUnload(uint64_t module) {
    return on_device(__func__, kRefused).always([&](Stub& stub) {
        return stub.modules.erase(module) == 1 ? 0 : kInvalidHandle;
    });
}

int hipModuleGetFunction(uint64_t* function, uint64_t module, const char* name) {
    return on_device(__func__, kRefused)([&](Stub& stub) { return stub.function(function, module, name); });
}

int hipModuleLaunchKernel(uint64_t function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned thread_y,
                          unsigned thread_z, unsigned shared_bytes, uint64_t stream, void** params, void** extra) {
    return on_device(__func__)([&](Stub& stub) {
        if (y != 1 || z != 1 || thread_y != 1 || thread_z != 1 || params != nullptr) return kInvalidValue;
        if (shared_bytes > 64 << 10) return kInvalidValue;
        return stub.launch(function, x, threads, shared_bytes, stream, extra);
    });
}

int hipStreamCreateWithFlags(uint64_t* stream, unsigned) {
    return on_device(__func__, kRefused)([&](Stub& stub) { return stub.create(stub.streams, stream); });
}

int hipStreamDestroy(uint64_t stream) {
    return on_device(__func__).always([&](Stub& stub) { return stub.destroy_stream(stream); });
}

int hipStreamSynchronize(uint64_t stream) {
    return on_device(__func__, kRefused)([&](Stub& stub) { return stub.synchronize(stream); });
}

int hipStreamIsCapturing(uint64_t stream, int* status) {
    return on_device(__func__)([&](Stub& stub) {
        *status = stub.capturing.count(stream) != 0;
        return stream == 0 || stub.streams.count(stream) != 0 ? 0 : kInvalidHandle;
    });
}

int hipStreamGetFlags(uint64_t stream, unsigned* flags) {
    return on_device(__func__)([&](Stub& stub) {
        *flags = stub.waiting_streams.count(stream) != 0 ? 0 : 1;
        return stub.streams.count(stream) != 0 ? 0 : kInvalidHandle;
    });
}

int hipStreamBeginCapture(uint64_t stream, int mode) {
    return on_device(__func__)([&](Stub& stub) { return stub.begin_capture(stream, mode); });
}

int hipStreamEndCapture(uint64_t stream, uint64_t* graph) {
    Entry entry = on_device(__func__);
    return entry.always([&](Stub& stub) { return stub.end_capture(stream, entry.fails() ? nullptr : graph); });
}

int hipGraphInstantiateWithFlags(uint64_t* executable, uint64_t graph, unsigned long long flags) {
    return on_device(__func__)([&](Stub& stub) { return stub.instantiate(executable, graph, flags); });
}

int hipGraphDestroy(uint64_t graph) {
    return on_device(__func__).always([&](Stub& stub) { return stub.graphs.erase(graph) == 1 ? 0 : kInvalidValue; });
}

int hipGraphLaunch(uint64_t executable, uint64_t stream) {
    return on_device(__func__)([&](Stub& stub) { return stub.launch_graph(executable, stream); });
}

int hipGraphExecDestroy(uint64_t executable) {
    return on_device(__func__).always(
        [&](Stub& stub) { return stub.executables.erase(executable) == 1 ? 0 : kInvalidValue; });
}

int hipThreadExchangeStreamCaptureMode(int* mode) {
    return Entry(__func__)([&](Stub& stub) {
        std::swap(*mode, stub.capture_mode);
        return 0;
    });
}

int hipEventCreateWithFlags(uint64_t* event, unsigned flags) {
    return on_device(__func__)(
        [&](Stub& stub) { return flags == 2 ? stub.create(stub.events, event) : kInvalidValue; });
}

int hipEventDestroy(uint64_t event) {
    return on_device(__func__).always([&](Stub& stub) { return stub.events.erase(event) == 1 ? 0 : kInvalidHandle; });
}

int hipEventRecord(uint64_t event, uint64_t stream) {
    return on_device(__func__)([&](Stub& stub) { return stub.record(event, stream); });
}

int hipEventSynchronize(uint64_t event) {
    return on_device(__func__, kRefused)([&](Stub& stub) { return stub.wait(event); });
}

int hipMalloc(uint64_t* address, size_t bytes) {
    return on_device(__func__, kRefused)([&](Stub& stub) { return stub.allocate(address, bytes, false); });
}

int hipFree(uint64_t address) {
    return on_device(__func__, kRefused).always([&](Stub& stub) { return stub.release(address, false); });
}

int hipHostMalloc(uint64_t* address, size_t bytes, unsigned flags) {
    return on_device(__func__, kRefused)(
        [&](Stub& stub) { return flags == 3 ? stub.allocate(address, bytes, true) : kInvalidValue; });
}

int hipHostFree(uint64_t address) {
    return on_device(__func__, kRefused).always([&](Stub& stub) { return stub.release(address, true); });
}

int hipMemcpyAsync(uint64_t to, uint64_t from, size_t bytes, int direction, uint64_t stream) {
    return on_device(__func__)(
        [&](Stub& stub) { return direction == 4 ? stub.copy(to, from, bytes, stream) : kInvalidValue; });
}

int hipMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, uint64_t stream) {
    return on_device(__func__)([&](Stub& stub) { return stub.fill(to, value, bytes, stream); });
}

int hipPointerGetAttributes(int* attributes, uint64_t address) {
    return on_device(__func__)([&](Stub& stub) {
        const Stub::Memory* memory = stub.find(address);
#ifdef ROCM_5
        if (memory == nullptr) return kInvalidValue;
        attributes[0] = memory->host ? 0 : 1;
#else
        attributes[0] = memory == nullptr ? 0 : memory->host ? 1 : 2;
#endif
        return 0;
    });
}

const char* hipGetErrorName(int code) { return words_of(code, false).name; }
const char* hipGetErrorString(int code) { return words_of(code, false).text; }

}  // extern "C"
#pragma GCC visibility pop
