// An open GPU: its driver's device, and what the host side keeps for it. Kernel calls neither allocate nor wait, so
// they can be captured into a graph. Everything throws Refusal; whatever is still allocated is freed at the end.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <type_traits>

#include "gpu/faults.h"
#include "gpu/host/allocations.h"
#include "gpu/host/captures.h"
#include "gpu/host/driver.h"
#include "gpu/host/plan_registry.h"
#include "gpu/host/removals.h"
#include "gpu/host/staging.h"

namespace kv8::gpu {

class Device {
  public:
    Device(std::unique_ptr<DriverDevice> driver, int ordinal);
    ~Device();
    Device(const Device&) = delete;
    Device& operator=(const Device&) = delete;

    DriverDevice& driver() { return *driver_; }
    const DeviceTraits& traits() const { return driver_->traits(); }
    int ordinal() const { return ordinal_; }
    Allocations& allocations() { return allocations_; }
    PlanRegistry& plans() { return plans_; }
    Captures& captures() { return captures_; }
    Removals& removals() { return removals_; }

    // Where kernels report what they find wrong; an address for host and device.
    Fault* fault() { return reinterpret_cast<Fault*>(fault_); }

    // Starts a kernel of a module with its one argument.
    template <class Params>
    void launch(const char* module, const char* kernel, int blocks, int threads, int shared_bytes, const Params& params,
                Stream stream) {
        static_assert(std::is_trivially_copyable_v<Params> && sizeof(Params) <= 4096, "a driver takes no more");
        driver_->launch(
            {driver_->function(module, kernel, shared_bytes), blocks, threads, shared_bytes, &params, sizeof(Params)},
            stream);
    }

    // Copies host memory to the device in the stream's order; `from` may change as soon as this returns. Refused while
    // the stream is captured: the graph would copy the same bytes again in every replay. On a thread that captures it is refused
    // on any stream: it may wait and allocate.
    void upload(Stream stream, uint64_t to, const void* from, size_t bytes) {
        captures_.require_none_of_this_thread("kv8_attention_plan");
        staging_.upload(stream, to, from, bytes);
    }

    // Of kv8_alloc; no call uses it any more when the driver gets it back.
    void release(uint64_t address);

    // Waits for the stream, then reports the first fault that a kernel met since the last time.
    void synchronize(Stream stream);

    // After DeviceLost: every later call is refused with its text.
    void lose(const std::string& text);
    void require_present() const;

  private:
    void report_fault();

    std::unique_ptr<DriverDevice> driver_;
    const int ordinal_;
    Captures captures_;
    Allocations allocations_;
    Removals removals_;
    StagingRing staging_;
    PlanRegistry plans_;
    uint64_t fault_;

    mutable std::mutex turn_;  // guards what follows
    std::string lost_;         // empty: present
};

}  // namespace kv8::gpu
