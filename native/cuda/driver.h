// NVIDIA's driver, libcuda.so.1. No toolkit and no runtime library are needed beside it.
#pragma once

#include "gpu/host/vendor/vendor_device.h"

namespace kv8::cuda {

struct Calls : gpu::VendorCalls {
    gpu::Call<unsigned> initialize;
    gpu::Call<int*> driver_version;
    gpu::Call<int*> device_count;
    gpu::Call<int*, int> device_get;
    gpu::Call<char*, int, int> device_name;
    gpu::Call<int*, int, int> device_attribute;
    gpu::Call<size_t*, int> device_memory;
    gpu::Call<gpu::Handle*, int> retain_context;
    gpu::Call<int> release_context;
    gpu::Call<gpu::Handle> push_context;
    gpu::Call<gpu::Handle*> pop_context;
    gpu::Call<gpu::Handle*, const void*, unsigned, int*, void**> module_load;
    gpu::Call<gpu::Handle, int, int> set_function_attribute;
    gpu::Call<gpu::Handle, gpu::Handle, size_t, gpu::Handle> copy;
    gpu::Call<void*, int, gpu::Handle> pointer_attribute;
    gpu::Call<int, const char**> error_name;
    gpu::Call<int, const char**> error_text;
};

class Driver final : public gpu::Driver {
  public:
    Driver();

    const char* name() const override { return "cuda"; }
    int device_count() override;
    std::unique_ptr<gpu::DriverDevice> open(int ordinal, const char* blas_library) override;

  private:
    void require(const char* call, int code) const;

    gpu::Library library_;
    Calls calls_;
};

}  // namespace kv8::cuda
