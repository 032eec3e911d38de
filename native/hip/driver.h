// AMD's HIP runtime, libamdhip64: 7, 6 or 5, whichever the machine has.
#pragma once

#include "gpu/host/vendor/vendor_device.h"

namespace kv8::hip {

struct Calls : gpu::VendorCalls {
    gpu::Call<unsigned> initialize;
    gpu::Call<int*> runtime_version;
    gpu::Call<int*> device_count;
    gpu::Call<char*, int, int> device_name;
    gpu::Call<int*, int, int> device_attribute;
    gpu::Call<size_t*, int> device_memory;
    gpu::Call<void*, int> device_properties;
    gpu::Call<int*> current_device;
    gpu::Call<int> set_device;
    gpu::Call<gpu::Handle*, const void*> module_load;
    gpu::Call<gpu::Handle, gpu::Handle, size_t, int, gpu::Handle> copy;
    gpu::Call<void*, gpu::Handle> pointer_attributes;
    const char* (*error_name)(int) = nullptr;
    const char* (*error_text)(int) = nullptr;
    bool since_6 = false;  // of ROCm, which then renumbered memory types and moved the properties' fields
};

class Driver final : public gpu::Driver {
  public:
    Driver();

    const char* name() const override { return "rocm"; }
    int device_count() override;
    std::unique_ptr<gpu::DriverDevice> open(int ordinal, const char* blas_library) override;

  private:
    void require(const char* call, int code) const;

    gpu::Library library_;
    Calls calls_;
};

}  // namespace kv8::hip
