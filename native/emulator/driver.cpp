#include "emulator/driver.h"

#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "dispatch/error.h"
#include "emulator/device_memory.h"
#include "emulator/graphs.h"
#include "emulator/matrix_products.h"
#include "emulator/runtime.h"

namespace kv8::emulator {
namespace {

constexpr int kMultiprocessors = 4;   // few, so that a plan for all of them stays small
constexpr size_t kMostParams = 4096;  // bytes, as CUDA has it
constexpr uint64_t kFirstHandle = 1;  // 0 is the default stream

class Device final : public gpu::DriverDevice {
  public:
    Device() {
        traits_.name = std::string("kv8 emulator of ") + kArch.name;
        traits_.arch = kArch.name;
        traits_.driver = "emulator";
        traits_.multiprocessors = kMultiprocessors;
        traits_.shared_per_block = kArch.block_shared_kib * 1024;
        traits_.memory_bytes = DeviceMemory::kCapacity;
        traits_.host_accessible = true;
    }

    const gpu::DeviceTraits& traits() const override { return traits_; }
    uint64_t free_memory() override { return device_memory.free_bytes(); }

    gpu::Function function(const char* module, const char* name, int shared_bytes) override {
        const Kernel* kernel = find_kernel(module, name);
        if (kernel == nullptr) refuse(KV8_UNSUPPORTED, "the emulator has no kernel %s in a module %s", name, module);
        if (shared_bytes > traits_.shared_per_block)
            refuse(KV8_INTERNAL_ERROR, "kernel %s of %s needs %d bytes of shared memory; a block of %s has %d", name,
                   module, shared_bytes, kArch.name, traits_.shared_per_block);
        std::lock_guard<std::mutex> lock(turn_);
        int& allowed = allowed_shared_bytes_[kernel];
        if (shared_bytes > allowed) allowed = shared_bytes;
        return reinterpret_cast<gpu::Function>(kernel);
    }

    void launch(const gpu::Launch& launch, gpu::Stream stream) override {
        const Kernel& kernel = *reinterpret_cast<const Kernel*>(launch.function);
        check(kernel, launch);
        const auto* params = static_cast<const unsigned char*>(launch.params);
        put(stream, [&kernel, params = std::vector<unsigned char>(params, params + launch.params_bytes),
                     blocks = launch.blocks, shared_bytes = launch.shared_bytes] {
            alignas(64) unsigned char aligned[kMostParams];
            std::memcpy(aligned, params.data(), params.size());
            run(kernel, aligned, blocks, shared_bytes);
        });
    }

    void multiply(const kv8_matmul_args& args, gpu::Stream stream) override {
        put(stream, [args] { emulator::multiply(args); });
    }

    gpu::Stream create_stream() override {
        graphs_.forbid("creating a stream");
        return next_handle_++;
    }
    void destroy_stream(gpu::Stream stream) override { graphs_.drop(stream); }
    void synchronize(gpu::Stream stream) override { graphs_.forbid("waiting for a stream", stream); }
    void synchronize_all() override { graphs_.forbid_to_all("waiting for all streams"); }
    bool is_capturing(gpu::Stream stream) override { return graphs_.is_capturing(stream); }
    bool waits_for_default_stream(gpu::Stream) override { return false; }

    void begin_capture(gpu::Stream stream) override { graphs_.begin(stream); }
    gpu::Graph end_capture(gpu::Stream stream) override { return graphs_.end(stream); }
    void launch_graph(gpu::Graph graph, gpu::Stream) override { graphs_.launch(graph); }
    void destroy_graph(gpu::Graph graph) override { graphs_.destroy(graph); }

    gpu::Event create_event() override { return next_handle_++; }
    void destroy_event(gpu::Event) override {}
    void record(gpu::Event, gpu::Stream) override {}
    void wait(gpu::Event) override { graphs_.forbid("waiting for an event"); }

    uint64_t allocate(uint64_t bytes) override {
        graphs_.forbid("allocating memory");
        return device_memory.allocate(bytes, false);
    }
    uint64_t allocate_host(uint64_t bytes) override {
        graphs_.forbid("allocating host memory");
        return device_memory.allocate(bytes, true);
    }
    void release(uint64_t address, bool) override {
        graphs_.forbid("freeing memory");
        device_memory.release(address);
    }

    void copy(uint64_t to, uint64_t from, uint64_t bytes, gpu::Stream stream) override {
        put(stream, [=] {
            device_memory.check_range("the target of a copy", to, bytes);
            device_memory.check_range("the source of a copy", from, bytes);
            std::memcpy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
        });
    }
    void fill(uint64_t to, uint8_t value, uint64_t bytes, gpu::Stream stream) override {
        put(stream, [=] {
            device_memory.check_range("a fill", to, bytes);
            std::memset(reinterpret_cast<void*>(to), value, bytes);
        });
    }
    gpu::Place place_of(uint64_t address) override { return device_memory.place_of(address); }

  private:
    // Does the work, which is done when a call returns, or records it.
    template <class Work>
    void put(gpu::Stream stream, Work&& work) {
        if (graphs_.is_capturing(stream))
            graphs_.record(stream, std::forward<Work>(work));
        else
            work();
    }

    // What a vendor's driver would refuse, or would not notice.
    void check(const Kernel& kernel, const gpu::Launch& launch) {
        std::lock_guard<std::mutex> lock(turn_);
        if (launch.blocks < 1)
            refuse(KV8_INTERNAL_ERROR, "kernel %s of %s is launched with %d blocks", kernel.name, kernel.module,
                   launch.blocks);
        if (launch.threads != kernel.threads)
            refuse(KV8_INTERNAL_ERROR, "kernel %s of %s is launched with %d threads a block; it has %d", kernel.name,
                   kernel.module, launch.threads, kernel.threads);
        if (launch.params_bytes != kernel.params_bytes || launch.params_bytes > kMostParams)
            refuse(KV8_INTERNAL_ERROR, "kernel %s of %s is given %zu bytes of parameters; it takes %zu, at most %zu",
                   kernel.name, kernel.module, launch.params_bytes, kernel.params_bytes, kMostParams);
        const int allowed = allowed_shared_bytes_[&kernel];
        if (launch.shared_bytes < 0 || launch.shared_bytes > allowed)
            refuse(KV8_INTERNAL_ERROR, "kernel %s of %s is launched with %d bytes of shared memory; it was allowed %d",
                   kernel.name, kernel.module, launch.shared_bytes, allowed);
    }

    gpu::DeviceTraits traits_;
    Graphs graphs_;
    std::atomic<uint64_t> next_handle_{kFirstHandle};
    std::mutex turn_;
    std::map<const Kernel*, int> allowed_shared_bytes_;
};

class Driver final : public gpu::Driver {
  public:
    const char* name() const override { return "emulator"; }
    int device_count() override { return 1; }
    std::unique_ptr<gpu::DriverDevice> open(int, const char*) override { return std::make_unique<Device>(); }
};

}  // namespace

gpu::Driver& driver() {
    static Driver only;
    return only;
}

}  // namespace kv8::emulator
