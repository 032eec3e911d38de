#include "gpu/host/device.h"

#include <cstring>

#include "dispatch/error.h"
#include "gpu/host/fault_report.h"

namespace kv8::gpu {

Device::Device(std::unique_ptr<DriverDevice> driver, int ordinal)
    : driver_(std::move(driver)),
      ordinal_(ordinal),
      captures_(*driver_, ordinal),
      allocations_(*driver_),
      removals_(*driver_, captures_),
      staging_(*driver_),
      fault_(driver_->allocate_host(sizeof(Fault))) {
    std::memset(fault(), 0, sizeof(Fault));
}

Device::~Device() {
    // While another handle of the GPU is captured, what drivers do when they free memory has to do.
    quietly([&] { captures_.unless_any([&] { driver_->synchronize_all(); }); });
    quietly([&] { driver_->release(fault_, true); });
}

void Device::synchronize(Stream stream) {
    if (driver_->is_capturing(stream))
        refuse(KV8_INVALID_ARGUMENT,
               "The stream is being captured into a graph; it can be waited for when the capture has ended.");
    captures_.require_none_of_this_thread("kv8_stream_sync");
    driver_->synchronize(stream);
    report_fault();
}

void Device::release(uint64_t address) {
    const Allocation gone = allocations_.take(address);
    plans_.forget(address, gone.bytes);
    removals_.add([this, gone] { driver_->release(gone.base, gone.host); });
}

void Device::report_fault() {
    Fault found;
    if (__atomic_load_n(&fault()->kind, __ATOMIC_ACQUIRE) == kNoFault) return;
    // It may be a kernel's on another stream, which is filling it in. Where that cannot be waited for it is told next time.
    if (!captures_.unless_any([&] { driver_->synchronize_all(); })) return;
    {
        // Of two threads that wait at the same time, one reports.
        std::lock_guard<std::mutex> lock(turn_);
        if (__atomic_load_n(&fault()->kind, __ATOMIC_ACQUIRE) == kNoFault) return;
        std::memcpy(&found, fault(), sizeof(found));
        __atomic_store_n(&fault()->kind, kNoFault, __ATOMIC_RELEASE);
    }
    refuse_fault(found);
}

void Device::lose(const std::string& text) {
    std::lock_guard<std::mutex> lock(turn_);
    if (lost_.empty()) lost_ = text;
}

void Device::require_present() const {
    std::lock_guard<std::mutex> lock(turn_);
    if (!lost_.empty())
        refuse(KV8_DEVICE_ERROR, "The device is lost: %s. Only a new process can use it again.", lost_.c_str());
}

}  // namespace kv8::gpu
