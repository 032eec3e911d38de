// libcuda.so.1, as far as kv8 uses it. WITHOUT_CAPTURE_MODE makes a driver that is too old.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "stubs/stub.h"

using namespace kv8_test;

namespace {

constexpr uint64_t kContext = 0xC0;
constexpr Capture kRefused = Capture::kRefused;

int compute_capability(const Stub& stub) { return stub.arch.empty() ? 90 : std::atoi(stub.arch.c_str() + 3); }

int attribute(const Stub& stub, int which) {
    switch (which) {
        case 16:
            return 132;  // multiprocessors
        case 75:
            return compute_capability(stub) / 10;
        case 76:
            return compute_capability(stub) % 10;
        case 97:
            return 227 << 10;  // shared memory of a block that asks for it
        default:
            return -1;
    }
}

// A call that needs a context.
Entry in_context(const char* function, Capture capture = Capture::kAllowed) {
    if (kv8_stub()->current_contexts == 0) kv8_stub()->calls_without_device++;
    return Entry(function, capture);
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

int cuInit(unsigned) {
    return Entry(__func__)([](Stub& stub) { return stub.devices == 0 ? kNoDevice : 0; });
}

int cuDriverGetVersion(int* version) {
    return Entry(__func__)([&](Stub&) {
        *version = 13010;
        return 0;
    });
}

int cuDeviceGetCount(int* count) {
    return Entry(__func__)([&](Stub& stub) {
        *count = stub.devices;
        return 0;
    });
}

int cuDeviceGet(int* device, int ordinal) {
    return Entry(__func__)([&](Stub& stub) {
        *device = ordinal;
        return ordinal < stub.devices ? 0 : kInvalidDevice;
    });
}

int cuDeviceGetName(char* name, int bytes, int device) {
    return Entry(__func__)([&](Stub&) {
        std::snprintf(name, static_cast<size_t>(bytes), "Stub GPU %d", device);
        return 0;
    });
}

int cuDeviceGetAttribute(int* value, int which, int) {
    return Entry(__func__)([&](Stub& stub) {
        *value = attribute(stub, which);
        return *value < 0 ? kInvalidValue : 0;
    });
}

int cuDeviceTotalMem_v2(size_t* bytes, int) {
    return Entry(__func__)([&](Stub& stub) {
        *bytes = stub.memory_bytes;
        return 0;
    });
}

int cuDevicePrimaryCtxRetain(uint64_t* context, int) {
    return Entry(__func__)([&](Stub& stub) {
        stub.contexts++;
        *context = kContext;
        return 0;
    });
}

int cuDevicePrimaryCtxRelease_v2(int) {
    return Entry(__func__).always([](Stub& stub) {
        stub.contexts--;
        return 0;
    });
}

int cuCtxPushCurrent_v2(uint64_t context) {
    return Entry(__func__)([&](Stub& stub) {
        stub.current_contexts++;
        return context == kContext ? 0 : kInvalidValue;
    });
}

int cuCtxPopCurrent_v2(uint64_t* context) {
    return Entry(__func__).always([&](Stub& stub) {
        stub.current_contexts--;
        *context = kContext;
        return 0;
    });
}

int cuCtxSynchronize() {
    return in_context(__func__, Capture::kRefusedToAll)([](Stub& stub) { return stub.synchronize_all(); });
}

int cuMemGetInfo_v2(size_t* free, size_t* total) {
    return in_context(__func__)([&](Stub& stub) {
        *free = stub.memory_bytes / 2;
        *total = stub.memory_bytes;
        return 0;
    });
}

// Compute capability 7.5 and before have no code in kv8's images.
int cuModuleLoadDataEx(uint64_t* module, const void* image, unsigned options, int* names, void** values) {
    return in_context(__func__, kRefused)([&](Stub& stub) {
        if (image == nullptr) return kInvalidValue;
        if (compute_capability(stub) >= 80) return stub.create(stub.modules, module);
        for (unsigned i = 0; i < options; i++)
            if (names[i] == 5) std::strcpy(static_cast<char*>(values[i]), "ptxas fatal: not for this GPU");
        return kNoBinary;
    });
}

int cuModuleUnload(uint64_t module) {
    return in_context(__func__, kRefused).always([&](Stub& stub) {
        return stub.modules.erase(module) == 1 ? 0 : kInvalidHandle;
    });
}

int cuModuleGetFunction(uint64_t* function, uint64_t module, const char* name) {
    return in_context(__func__, kRefused)([&](Stub& stub) { return stub.function(function, module, name); });
}

int cuFuncSetAttribute(uint64_t function, int which, int value) {
    return in_context(__func__, kRefused)([&](Stub& stub) {
        if (which != 8 || stub.kernels.count(function) == 0) return kInvalidValue;
        stub.shared_bytes_allowed[stub.kernels[function]] = value;
        return 0;
    });
}

int cuLaunchKernel(uint64_t function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned thread_y,
                   unsigned thread_z, unsigned shared_bytes, uint64_t stream, void** params, void** extra) {
    return in_context(__func__)([&](Stub& stub) {
        if (y != 1 || z != 1 || thread_y != 1 || thread_z != 1 || params != nullptr) return kInvalidValue;
        const auto allowed = stub.shared_bytes_allowed.find(stub.kernels[function]);
        const int most = allowed == stub.shared_bytes_allowed.end() ? 48 << 10 : allowed->second;
        if (static_cast<int>(shared_bytes) > most) return kInvalidValue;
        return stub.launch(function, x, threads, shared_bytes, stream, extra);
    });
}

int cuStreamCreate(uint64_t* stream, unsigned) {
    return in_context(__func__, kRefused)([&](Stub& stub) { return stub.create(stub.streams, stream); });
}

int cuStreamDestroy_v2(uint64_t stream) {
    return in_context(__func__).always([&](Stub& stub) { return stub.destroy_stream(stream); });
}

int cuStreamSynchronize(uint64_t stream) {
    return in_context(__func__, kRefused)([&](Stub& stub) { return stub.synchronize(stream); });
}

int cuStreamIsCapturing(uint64_t stream, int* status) {
    return in_context(__func__)([&](Stub& stub) {
        *status = stub.capturing.count(stream) != 0;
        return stream == 0 || stub.streams.count(stream) != 0 ? 0 : kInvalidHandle;
    });
}

int cuStreamGetFlags(uint64_t stream, unsigned* flags) {
    return in_context(__func__)([&](Stub& stub) {
        *flags = stub.waiting_streams.count(stream) != 0 ? 0 : 1;
        return stub.streams.count(stream) != 0 ? 0 : kInvalidHandle;
    });
}

int cuStreamBeginCapture_v2(uint64_t stream, int mode) {
    return in_context(__func__)([&](Stub& stub) { return stub.begin_capture(stream, mode); });
}

int cuStreamEndCapture(uint64_t stream, uint64_t* graph) {
    Entry entry = in_context(__func__);
    return entry.always([&](Stub& stub) { return stub.end_capture(stream, entry.fails() ? nullptr : graph); });
}

int cuGraphInstantiateWithFlags(uint64_t* executable, uint64_t graph, unsigned long long flags) {
    return in_context(__func__)([&](Stub& stub) { return stub.instantiate(executable, graph, flags); });
}

int cuGraphDestroy(uint64_t graph) {
    return in_context(__func__).always([&](Stub& stub) { return stub.graphs.erase(graph) == 1 ? 0 : kInvalidValue; });
}

int cuGraphLaunch(uint64_t executable, uint64_t stream) {
    return in_context(__func__)([&](Stub& stub) { return stub.launch_graph(executable, stream); });
}

int cuGraphExecDestroy(uint64_t executable) {
    return in_context(__func__).always(
        [&](Stub& stub) { return stub.executables.erase(executable) == 1 ? 0 : kInvalidValue; });
}

#ifndef WITHOUT_CAPTURE_MODE
int cuThreadExchangeStreamCaptureMode(int* mode) {
    return Entry(__func__)([&](Stub& stub) {
        std::swap(*mode, stub.capture_mode);
        return 0;
    });
}
#endif

int cuEventCreate(uint64_t* event, unsigned flags) {
    return in_context(__func__)(
        [&](Stub& stub) { return flags == 2 ? stub.create(stub.events, event) : kInvalidValue; });
}

int cuEventDestroy_v2(uint64_t event) {
    return in_context(__func__).always([&](Stub& stub) { return stub.events.erase(event) == 1 ? 0 : kInvalidHandle; });
}

int cuEventRecord(uint64_t event, uint64_t stream) {
    return in_context(__func__)([&](Stub& stub) { return stub.record(event, stream); });
}

int cuEventSynchronize(uint64_t event) {
    return in_context(__func__, kRefused)([&](Stub& stub) { return stub.wait(event); });
}

int cuMemAlloc_v2(uint64_t* address, size_t bytes) {
    return in_context(__func__, kRefused)([&](Stub& stub) { return stub.allocate(address, bytes, false); });
}

int cuMemFree_v2(uint64_t address) {
    return in_context(__func__, kRefused).always([&](Stub& stub) { return stub.release(address, false); });
}

int cuMemHostAlloc(uint64_t* address, size_t bytes, unsigned flags) {
    return in_context(__func__, kRefused)(
        [&](Stub& stub) { return flags == 3 ? stub.allocate(address, bytes, true) : kInvalidValue; });
}

int cuMemFreeHost(uint64_t address) {
    return in_context(__func__, kRefused).always([&](Stub& stub) { return stub.release(address, true); });
}

int cuMemcpyAsync(uint64_t to, uint64_t from, size_t bytes, uint64_t stream) {
    return in_context(__func__)([&](Stub& stub) { return stub.copy(to, from, bytes, stream); });
}

int cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, uint64_t stream) {
    return in_context(__func__)([&](Stub& stub) { return stub.fill(to, value, bytes, stream); });
}

int cuPointerGetAttribute(void* value, int which, uint64_t address) {
    return in_context(__func__)([&](Stub& stub) {
        const Stub::Memory* memory = stub.find(address);
        if (which != 2 || memory == nullptr) return kInvalidValue;
        *static_cast<unsigned*>(value) = memory->host ? 1 : 2;
        return 0;
    });
}

int cuGetErrorName(int code, const char** name) {
    *name = words_of(code, true).name;
    return 0;
}

int cuGetErrorString(int code, const char** text) {
    *text = words_of(code, true).text;
    return 0;
}

}  // extern "C"
#pragma GCC visibility pop
