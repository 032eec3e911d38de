// A vendor's driver as the host side needs it: CUDA's libcuda, HIP's libamdhip64, or the emulator. Functions throw
// Refusal with the vendor's own text when the driver reports an error (KV8_OUT_OF_MEMORY, KV8_UNSUPPORTED,
// KV8_DEVICE_ERROR, or KV8_LIBRARY_MISSING where there is no driver), and DeviceLost when the device will serve no
// further call. Handles are the driver's own, as integers; stream 0 is the driver's default stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "kv8/kv8.h"

namespace kv8::gpu {

struct DeviceTraits {
    std::string name;
    std::string arch;          // sm_90, gfx942
    std::string driver;        // its version, for people: "CUDA 13.0", "HIP 6.2"
    int multiprocessors = 0;   // CUDA: SMs, AMD: compute units
    int shared_per_block = 0;  // bytes that a launch may ask for
    uint64_t memory_bytes = 0;
    bool host_accessible = false;  // the host can read and write device memory
};

// What a device throws that cannot be used any more: a kernel touched illegal memory, the hardware failed, it was
// removed.
struct DeviceLost {
    std::string text;  // the failed call and the vendor's words
};

using Stream = uint64_t;
using Event = uint64_t;
using Function = uint64_t;
using Graph = uint64_t;  // ready to be launched

struct Launch {
    Function function = 0;
    int blocks = 0;
    int threads = 0;
    int shared_bytes = 0;
    const void* params = nullptr;  // the kernel's one argument
    size_t params_bytes = 0;
};

// Where an address lies. The driver knows nothing of pageable memory, nor of addresses that nobody allocated.
enum class Place { kDevice, kPinned, kPageable };

// One opened device. Calls may come from any thread.
class DriverDevice {
  public:
    virtual ~DriverDevice() = default;

    virtual const DeviceTraits& traits() const = 0;
    virtual uint64_t free_memory() = 0;

    // A kernel by the name of its module (the file it stands in) and its own. Loads the module for this device's
    // architecture when it is first asked for; allows `shared_bytes` of shared memory. Kept until the device is closed.
    virtual Function function(const char* module, const char* name, int shared_bytes) = 0;
    virtual void launch(const Launch& launch, Stream stream) = 0;

    // Puts a matrix product on the stream, by the vendor's library, opened when it is first asked for. The dispatcher has
    // checked the arguments. A shape's first call may allocate; any later one neither allocates nor waits.
    virtual void multiply(const kv8_matmul_args& args, Stream stream) = 0;

    virtual Stream create_stream() = 0;
    virtual void destroy_stream(Stream stream) = 0;
    virtual void synchronize(Stream stream) = 0;
    // Every stream of the device, the callers' own included. Breaks every capture of the GPU, of any thread and handle.
    virtual void synchronize_all() = 0;
    virtual bool is_capturing(Stream stream) = 0;
    // Whether it and the default stream wait for each other. Its capture would be broken by any call on the other, of any thread.
    virtual bool waits_for_default_stream(Stream stream) = 0;

    // From now on what is put on the stream is recorded and not done, until the same thread ends it. Meanwhile other threads
    // may do all but wait for all streams; this one may not allocate, free, wait or create a stream, on any GPU.
    virtual void begin_capture(Stream stream) = 0;
    // What was recorded. It throws where a call has made the capture invalid; the stream is as before in any case.
    virtual Graph end_capture(Stream stream) = 0;
    virtual void launch_graph(Graph graph, Stream stream) = 0;
    virtual void destroy_graph(Graph graph) = 0;  // none of its launches is under way

    virtual Event create_event() = 0;
    virtual void destroy_event(Event event) = 0;
    virtual void record(Event event, Stream stream) = 0;
    virtual void wait(Event event) = 0;  // of the host

    virtual uint64_t allocate(uint64_t bytes) = 0;
    virtual uint64_t allocate_host(uint64_t bytes) = 0;  // pinned, at one address for host and device
    virtual void release(uint64_t address, bool host) = 0;
    virtual void copy(uint64_t to, uint64_t from, uint64_t bytes, Stream stream) = 0;  // direction by the addresses
    virtual void fill(uint64_t to, uint8_t value, uint64_t bytes, Stream stream) = 0;
    virtual Place place_of(uint64_t address) = 0;
};

// For destructors: what went down with the device need not be released.
template <class Body>
void quietly(const Body& body) noexcept {
    try {
        body();
    } catch (...) {
    }
}

class Driver {
  public:
    virtual ~Driver() = default;

    virtual const char* name() const = 0;  // of the backend: "cuda", "rocm", "emulator"
    virtual int device_count() = 0;
    // One of device_count; `blas_library` is the path of the library of matrix products, null for the usual ones.
    virtual std::unique_ptr<DriverDevice> open(int ordinal, const char* blas_library) = 0;
};

}  // namespace kv8::gpu
