// Numbers are those of the CUDA driver API's reference; functions whose arguments once changed carry the version in
// their name.
#include "cuda/driver.h"

#include "cuda/cublas_lt.h"
#include "cuda/numbers.h"
#include "gpu/host/vendor/failure.h"
#include "gpu/host/vendor/numbers.h"

namespace kv8::cuda {
namespace {

using gpu::Handle;

constexpr int kSharedBytesWithoutAsking = 48 << 10;

std::string words_for(const Calls& calls, int code) {
    const char *name = nullptr, *text = nullptr;
    if (calls.error_name.function(code, &name) != 0 || name == nullptr) name = "unknown error";
    if (calls.error_text.function(code, &text) != 0 || text == nullptr) text = "no description";
    return std::string(name) + " (" + std::to_string(code) + "): " + text;
}

class Device final : public gpu::VendorDevice {
  public:
    Device(const Calls& calls, int ordinal, const char* blas_library)
        : VendorDevice(calls, kCublasLt, blas_library), calls_(calls) {
        require(calls_.device_get, &device_, ordinal);
        char name[256] = "";
        require(calls_.device_name, name, static_cast<int>(sizeof(name)) - 1, device_);
        traits_.name = name;
        traits_.arch = "sm_" + std::to_string(attribute(kComputeCapabilityMajor)) +
                       std::to_string(attribute(kComputeCapabilityMinor));
        traits_.driver = driver_version();
        traits_.multiprocessors = attribute(kMultiprocessorCount);
        traits_.shared_per_block = attribute(kSharedMemoryPerBlockOptin);
        size_t bytes = 0;
        require(calls_.device_memory, &bytes, device_);
        traits_.memory_bytes = bytes;
        require(calls_.retain_context, &context_, device_);
        try {
            probe();
        } catch (...) {
            close();
            throw;
        }
    }
    ~Device() override { close(); }

  private:
    int attribute(int which) const {
        int value = 0;
        require(calls_.device_attribute, &value, which, device_);
        return value;
    }

    // 13010: CUDA 13.1, the latest that it serves.
    std::string driver_version() const {
        int version = 0;
        require(calls_.driver_version, &version);
        return "CUDA " + std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
    }

    void close() noexcept {
        gpu::quietly([&] {
            const Current current(*this);
            unload();
        });
        calls_.release_context.function(device_);
    }

    int enter() override {
        require(calls_.push_context, context_);
        return 0;
    }

    void leave(int) noexcept override {
        Handle popped = 0;
        calls_.pop_context.function(&popped);
    }

    std::string words(int code) const override { return words_for(calls_, code); }

    Handle load(const gpu::EmbeddedImage& image) override {
        char log[512] = "";
        int options[] = {kJitErrorLog, kJitErrorLogBytes};
        void* values[] = {log, reinterpret_cast<void*>(sizeof(log))};
        Handle module = 0;
        const int code = calls_.module_load.function(&module, image.begin, 2, options, values);
        if (code == 0) return module;
        std::string text =
            std::string(calls_.module_load.name) + ": " + words(code) + "; the driver is for " + traits_.driver;
        log[sizeof(log) - 1] = 0;
        if (*log != 0) text += std::string("; its compiler says: ") + log;
        gpu::refuse_driver_error(code, text);
    }

    void allow_shared(gpu::Function function, int bytes) override {
        if (bytes > kSharedBytesWithoutAsking)
            require(calls_.set_function_attribute, function, kMaxDynamicSharedBytes, bytes);
    }

    void start_copy(uint64_t to, uint64_t from, uint64_t bytes, gpu::Stream stream) override {
        require(calls_.copy, to, from, bytes, stream);
    }

    gpu::Place find(uint64_t address) override {
        unsigned type = 0;
        const int code = calls_.pointer_attribute.function(&type, kMemoryType, address);
        if (code == gpu::kInvalidValue) return gpu::Place::kPageable;
        if (code != 0) fail(calls_.pointer_attribute.name, code);
        return type == kMemoryTypeHost ? gpu::Place::kPinned : gpu::Place::kDevice;
    }

    uint64_t launch_arguments_end() const override { return kLaunchEnd; }

    const Calls& calls_;
    int device_ = 0;
    Handle context_ = 0;
};

}  // namespace

Driver::Driver()
    : library_("The driver library", nullptr, "KV8_CUDA_LIBRARY", {"libcuda.so.1"},
               "It comes with NVIDIA's driver: install that (nvidia-smi then lists the GPUs; in a container, start it "
               "with the GPUs), or set KV8_CUDA_LIBRARY to the library's path.") {
    library_.resolve(calls_.memory_info, "cuMemGetInfo_v2");
    library_.resolve(calls_.module_function, "cuModuleGetFunction");
    library_.resolve(calls_.module_unload, "cuModuleUnload");
    library_.resolve(calls_.launch, "cuLaunchKernel");
    library_.resolve(calls_.stream_create, "cuStreamCreate");
    library_.resolve(calls_.stream_destroy, "cuStreamDestroy_v2");
    library_.resolve(calls_.stream_synchronize, "cuStreamSynchronize");
    library_.resolve(calls_.stream_is_capturing, "cuStreamIsCapturing");
    library_.resolve(calls_.stream_flags, "cuStreamGetFlags");
    library_.resolve(calls_.capture_begin, "cuStreamBeginCapture_v2");
    library_.resolve(calls_.capture_end, "cuStreamEndCapture");
    library_.resolve(calls_.exchange_capture_mode, "cuThreadExchangeStreamCaptureMode");
    library_.resolve(calls_.graph_instantiate, "cuGraphInstantiateWithFlags");
    library_.resolve(calls_.graph_destroy, "cuGraphDestroy");
    library_.resolve(calls_.executable_launch, "cuGraphLaunch");
    library_.resolve(calls_.executable_destroy, "cuGraphExecDestroy");
    library_.resolve(calls_.synchronize, "cuCtxSynchronize");
    library_.resolve(calls_.event_create, "cuEventCreate");
    library_.resolve(calls_.event_destroy, "cuEventDestroy_v2");
    library_.resolve(calls_.event_record, "cuEventRecord");
    library_.resolve(calls_.event_synchronize, "cuEventSynchronize");
    library_.resolve(calls_.allocate, "cuMemAlloc_v2");
    library_.resolve(calls_.free, "cuMemFree_v2");
    library_.resolve(calls_.allocate_host, "cuMemHostAlloc");
    library_.resolve(calls_.free_host, "cuMemFreeHost");
    library_.resolve(calls_.fill, "cuMemsetD8Async");
    library_.resolve(calls_.initialize, "cuInit");
    library_.resolve(calls_.driver_version, "cuDriverGetVersion");
    library_.resolve(calls_.device_count, "cuDeviceGetCount");
    library_.resolve(calls_.device_get, "cuDeviceGet");
    library_.resolve(calls_.device_name, "cuDeviceGetName");
    library_.resolve(calls_.device_attribute, "cuDeviceGetAttribute");
    library_.resolve(calls_.device_memory, "cuDeviceTotalMem_v2");
    library_.resolve(calls_.retain_context, "cuDevicePrimaryCtxRetain");
    library_.resolve(calls_.release_context, "cuDevicePrimaryCtxRelease_v2");
    library_.resolve(calls_.push_context, "cuCtxPushCurrent_v2");
    library_.resolve(calls_.pop_context, "cuCtxPopCurrent_v2");
    library_.resolve(calls_.module_load, "cuModuleLoadDataEx");
    library_.resolve(calls_.set_function_attribute, "cuFuncSetAttribute");
    library_.resolve(calls_.copy, "cuMemcpyAsync");
    library_.resolve(calls_.pointer_attribute, "cuPointerGetAttribute");
    library_.resolve(calls_.error_name, "cuGetErrorName");
    library_.resolve(calls_.error_text, "cuGetErrorString");
}

void Driver::require(const char* call, int code) const {
    if (code != 0) gpu::refuse_driver_error(code, call + (": " + words_for(calls_, code)));
}

int Driver::device_count() {
    const int code = calls_.initialize.function(0);
    if (code == gpu::kNoDevice) return 0;
    require(calls_.initialize.name, code);
    int count = 0;
    require(calls_.device_count.name, calls_.device_count.function(&count));
    return count;
}

std::unique_ptr<gpu::DriverDevice> Driver::open(int ordinal, const char* blas_library) {
    return std::make_unique<Device>(calls_, ordinal, blas_library);
}

}  // namespace kv8::cuda
