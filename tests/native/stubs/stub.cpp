#include "stubs/stub.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace kv8_test {
namespace {

// Memory begins a little behind a page: aligned as drivers promise, and no better.
constexpr uint64_t kPage = 4096, kBehind = 256;

std::string from_environment(const char* name, const char* otherwise) {
    const char* value = getenv(name);
    return value == nullptr ? otherwise : value;
}

// "cuInit=100,cuMemAlloc_v2#2=2"
std::vector<Stub::Failure> parse_failures(const std::string& text) {
    std::vector<Stub::Failure> failures;
    for (size_t begin = 0; begin < text.size();) {
        const size_t end = std::min(text.find(',', begin), text.size());
        const std::string item = text.substr(begin, end - begin);
        const size_t number = item.find('#'), equals = item.find('=');
        failures.push_back({item.substr(0, std::min(number, equals)),
                            number == std::string::npos ? 1 : std::atoi(item.c_str() + number + 1),
                            std::atoi(item.c_str() + equals + 1)});
        begin = end + 1;
    }
    return failures;
}

}  // namespace

ErrorWords words_of(int code, bool cuda) {
    switch (code) {
        case 1:
            return {cuda ? "CUDA_ERROR_INVALID_VALUE" : "hipErrorInvalidValue", "invalid argument"};
        case 2:
            return {cuda ? "CUDA_ERROR_OUT_OF_MEMORY" : "hipErrorOutOfMemory", "out of memory"};
        case 100:
            return {cuda ? "CUDA_ERROR_NO_DEVICE" : "hipErrorNoDevice", "no device is detected"};
        case 209:
            return {cuda ? "CUDA_ERROR_NO_BINARY_FOR_GPU" : "hipErrorNoBinaryForGpu", "no kernel image is available"};
        case 700:
            return {cuda ? "CUDA_ERROR_ILLEGAL_ADDRESS" : "hipErrorIllegalAddress", "an illegal memory access"};
        case 900:
            return {cuda ? "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED" : "hipErrorStreamCaptureUnsupported",
                    "operation not permitted when stream is capturing"};
        case 901:
            return {cuda ? "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED" : "hipErrorStreamCaptureInvalidated",
                    "operation failed due to a previous error during capture"};
        default:
            return {cuda ? "CUDA_ERROR_UNKNOWN" : "hipErrorUnknown", "unknown error"};
    }
}

int Stub::failure_of(const char* called, Capture when_captured) {
    calls[called]++;
    for (size_t i = 0; i < failures.size(); i++) {
        if (failures[i].function != called || --failures[i].call > 0) continue;
        const int code = failures[i].code;
        failures.erase(failures.begin() + static_cast<std::ptrdiff_t>(i));
        return code;
    }
    if (when_captured == Capture::kAllowed || capture_mode == 2) return 0;
    bool breaks = false;
    for (const uint64_t stream : capturing) {
        const auto begun = captures.find(stream);  // else by a test
        if (begun != captures.end()) {
            if (when_captured == Capture::kRefused && begun->second.thread != std::this_thread::get_id()) continue;
            begun->second.broken = true;
        }
        breaks = true;
    }
    broken_captures += breaks;
    return breaks ? kCaptureUnsupported : 0;
}

int Stub::allocate(uint64_t* out, uint64_t bytes, bool host) {
    uint64_t used = 0;
    for (const auto& [address, m] : memory) used += m.host ? 0 : m.bytes;
    if (!host && (bytes > memory_bytes || used > memory_bytes - bytes)) return kOutOfMemory;
    void* base = nullptr;
    if (posix_memalign(&base, kPage, bytes + kBehind) != 0) return kOutOfMemory;
    *out = reinterpret_cast<uint64_t>(base) + kBehind;
    memory[*out] = {base, bytes, host};
    return 0;
}

int Stub::release(uint64_t address, bool host) {
    auto found = memory.find(address);
    if (found == memory.end() || found->second.host != host) return kInvalidValue;
    synchronize_all();
    std::free(found->second.base);
    memory.erase(found);
    return 0;
}

int Stub::create(std::set<uint64_t>& handles, uint64_t* out) {
    handles.insert(*out = next_handle++);
    return 0;
}

int Stub::function(uint64_t* out, uint64_t module, const char* name) {
    if (modules.count(module) == 0) return kInvalidHandle;
    kernels[*out = next_handle++] = name;
    return 0;
}

int Stub::launch(uint64_t called, unsigned blocks, unsigned threads, unsigned shared_bytes, uint64_t stream,
                 void** extra) {
    // 1, the parameters, 2, the address of their size, and the vendor's end.
    if (kernels.count(called) == 0) return kInvalidHandle;
    if (reinterpret_cast<uint64_t>(extra[0]) != 1 || reinterpret_cast<uint64_t>(extra[2]) != 2) return kInvalidValue;
    const auto* params = static_cast<const unsigned char*>(extra[1]);
    Launch launch{kernels[called],
                  blocks,
                  threads,
                  shared_bytes,
                  stream,
                  {params, params + *static_cast<size_t*>(extra[3])},
                  reinterpret_cast<uint64_t>(extra[4])};
    put(stream, [this, launch](uint64_t on) {
        launches.push_back(launch);
        launches.back().stream = on;
    });
    return 0;
}

int Stub::copy(uint64_t to, uint64_t from, uint64_t bytes, uint64_t stream) {
    put(stream, [=](uint64_t on) {
        queues[on].waiting.push_back(
            [=] { std::memcpy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes); });
    });
    // Pageable memory may change as soon as the call returns.
    if (find(from) == nullptr) drain(stream, UINT64_MAX);
    return 0;
}

int Stub::fill(uint64_t to, unsigned char value, uint64_t bytes, uint64_t stream) {
    put(stream, [=](uint64_t on) {
        queues[on].waiting.push_back([=] { std::memset(reinterpret_cast<void*>(to), value, bytes); });
    });
    return 0;
}

int Stub::record(uint64_t event, uint64_t stream) {
    const Queue& queue = queues[stream];
    recorded[event] = {stream, queue.done + queue.waiting.size()};
    return 0;
}

int Stub::wait(uint64_t event) {
    const auto found = recorded.find(event);
    if (found != recorded.end()) drain(found->second.stream, found->second.work);
    return 0;
}

int Stub::synchronize(uint64_t stream) {
    drain(stream, UINT64_MAX);
    return 0;
}

int Stub::synchronize_all() {
    for (auto& [stream, queue] : queues) drain(stream, UINT64_MAX);
    return 0;
}

int Stub::destroy_stream(uint64_t stream) {
    captures.erase(stream);
    capturing.erase(stream);
    return streams.erase(stream) == 1 ? 0 : kInvalidHandle;
}

int Stub::begin_capture(uint64_t stream, int mode) {
    if (mode != 1) return kInvalidValue;  // of this thread
    if (stream == 0) return kCaptureUnsupported;
    if (streams.count(stream) == 0) return kInvalidHandle;
    if (!capturing.insert(stream).second) return kIllegalState;
    captures[stream] = {};
    return 0;
}

int Stub::end_capture(uint64_t stream, uint64_t* graph) {
    const auto found = captures.find(stream);
    if (found == captures.end()) return kIllegalState;
    const Captured capture = found->second;
    captures.erase(found);
    capturing.erase(stream);
    if (capture.broken) return kCaptureInvalidated;
    if (graph != nullptr) graphs[*graph = next_handle++] = capture.work;
    return 0;
}

int Stub::instantiate(uint64_t* executable, uint64_t graph, unsigned long long flags) {
    if (flags != 0 || graphs.count(graph) == 0) return kInvalidValue;
    executables[*executable = next_handle++] = graphs[graph];
    return 0;
}

int Stub::launch_graph(uint64_t executable, uint64_t stream) {
    if (executables.count(executable) == 0 || (stream != 0 && streams.count(stream) == 0)) return kInvalidValue;
    for (const auto& work : executables[executable]) work(stream);
    return 0;
}

// Now, or into the stream's capture.
void Stub::put(uint64_t stream, const Work::value_type& work) {
    const auto capture = captures.find(stream);
    if (capture == captures.end())
        work(stream);
    else
        capture->second.work.push_back(work);
}

void Stub::drain(uint64_t stream, uint64_t work) {
    Queue& queue = queues[stream];
    while (!queue.waiting.empty() && queue.done < work) {
        queue.waiting.front()();
        queue.waiting.pop_front();
        queue.done++;
    }
}

extern "C" __attribute__((visibility("default"))) Stub* kv8_stub() {
    static Stub& stub = *[] {
        Stub* made = new Stub;
        made->devices = std::atoi(from_environment("KV8_STUB_DEVICES", "1").c_str());
        made->arch = from_environment("KV8_STUB_ARCH", "");
        made->failures = parse_failures(from_environment("KV8_STUB_FAIL", ""));
        return made;
    }();
    return &stub;
}

}  // namespace kv8_test
