// Numbers are those of HIP's reference (hip_runtime_api.h), the same in ROCm 5, 6 and 7 where nothing else is said.
#include "hip/driver.h"

#include <cstring>

#include "dispatch/error.h"
#include "gpu/host/vendor/failure.h"
#include "gpu/host/vendor/numbers.h"
#include "hip/hipblas_lt.h"

namespace kv8::hip {
namespace {

using gpu::Handle;

constexpr int kMultiprocessorCount = 63, kMaxSharedMemoryPerBlock = 74;
constexpr int kCopyByAddresses = 4;  // hipMemcpyDefault

// hipDeviceProp_t, of which only the architecture's name is wanted: no attribute has it in every version.
constexpr size_t kMostPropertyBytes = 8192, kArchBytes = 256, kArchAtSince6 = 1160, kArchAtBefore6 = 396;

// hipPointerAttribute_t begins with the memory's type.
constexpr size_t kPointerAttributeInts = 16;
constexpr int kHostSince6 = 1, kUnregisteredSince6 = 0, kHostBefore6 = 0;

std::string words_for(const Calls& calls, int code) {
    const char *name = calls.error_name(code), *text = calls.error_text(code);
    return std::string(name != nullptr ? name : "unknown error") + " (" + std::to_string(code) +
           "): " + (text != nullptr ? text : "no description");
}

class Device final : public gpu::VendorDevice {
  public:
    Device(const Calls& calls, int ordinal, const char* blas_library)
        : VendorDevice(calls, kHipblasLt, blas_library), calls_(calls), ordinal_(ordinal) {
        char name[256] = "";
        require(calls_.device_name, name, static_cast<int>(sizeof(name)) - 1, ordinal_);
        traits_.arch = arch();
        traits_.name = *name != 0 ? name : traits_.arch;  // some cards have none
        int version = 0;
        require(calls_.runtime_version, &version);
        traits_.driver = "HIP " + std::to_string(version / 10000000) + "." + std::to_string(version / 100000 % 100);
        traits_.multiprocessors = attribute(kMultiprocessorCount);
        traits_.shared_per_block = attribute(kMaxSharedMemoryPerBlock);
        size_t bytes = 0;
        require(calls_.device_memory, &bytes, ordinal_);
        traits_.memory_bytes = bytes;
        probe();
    }
    ~Device() override {
        gpu::quietly([&] {
            const Current current(*this);
            unload();
        });
    }

  private:
    int attribute(int which) const {
        int value = 0;
        require(calls_.device_attribute, &value, which, ordinal_);
        return value;
    }

    // As gfx942:sramecc+:xnack-, of which code objects are for the part before the colon.
    std::string arch() const {
        alignas(16) char properties[kMostPropertyBytes] = "";
        require(calls_.device_properties, properties, ordinal_);
        const char* told = properties + (calls_.since_6 ? kArchAtSince6 : kArchAtBefore6);
        const std::string whole(told, strnlen(told, kArchBytes));
        if (whole.rfind("gfx", 0) != 0)
            refuse(KV8_DEVICE_ERROR, "%s names the architecture \"%.64s\", which is none of AMD's.",
                   calls_.device_properties.name, whole.c_str());
        return whole.substr(0, whole.find(':'));
    }

    int enter() override {
        int before = 0;
        require(calls_.current_device, &before);
        if (before != ordinal_) require(calls_.set_device, ordinal_);
        return before;
    }

    void leave(int before) noexcept override {
        if (before != ordinal_) calls_.set_device.function(before);
    }

    std::string words(int code) const override { return words_for(calls_, code); }

    Handle load(const gpu::EmbeddedImage& image) override {
        Handle module = 0;
        require(calls_.module_load, &module, image.begin);
        return module;
    }

    // A block may have all of the hardware's shared memory without asking.
    void allow_shared(gpu::Function, int) override {}

    void start_copy(uint64_t to, uint64_t from, uint64_t bytes, gpu::Stream stream) override {
        require(calls_.copy, to, from, bytes, kCopyByAddresses, stream);
    }

    gpu::Place find(uint64_t address) override {
        int attributes[kPointerAttributeInts] = {};
        const int code = calls_.pointer_attributes.function(attributes, address);
        if (code == gpu::kInvalidValue) return gpu::Place::kPageable;
        if (code != 0) fail(calls_.pointer_attributes.name, code);
        const int type = attributes[0];
        if (calls_.since_6 && type == kUnregisteredSince6) return gpu::Place::kPageable;
        return type == (calls_.since_6 ? kHostSince6 : kHostBefore6) ? gpu::Place::kPinned : gpu::Place::kDevice;
    }

    uint64_t launch_arguments_end() const override { return 3; }

    const Calls& calls_;
    const int ordinal_;
};

}  // namespace

Driver::Driver()
    : library_("The driver library", nullptr, "KV8_HIP_LIBRARY",
               {"libamdhip64.so.7", "libamdhip64.so.6", "libamdhip64.so.5"},
               "It comes with AMD's ROCm: install its HIP runtime (package hip-runtime-amd; rocminfo then lists the "
               "GPUs), add its directory to LD_LIBRARY_PATH, or set KV8_HIP_LIBRARY to the library's path.") {
    library_.resolve(calls_.memory_info, "hipMemGetInfo");
    library_.resolve(calls_.module_function, "hipModuleGetFunction");
    library_.resolve(calls_.module_unload, "hipModuleUnload");
    library_.resolve(calls_.launch, "hipModuleLaunchKernel");
    library_.resolve(calls_.stream_create, "hipStreamCreateWithFlags");
    library_.resolve(calls_.stream_destroy, "hipStreamDestroy");
    library_.resolve(calls_.stream_synchronize, "hipStreamSynchronize");
    library_.resolve(calls_.stream_is_capturing, "hipStreamIsCapturing");
    library_.resolve(calls_.stream_flags, "hipStreamGetFlags");
    library_.resolve(calls_.capture_begin, "hipStreamBeginCapture");
    library_.resolve(calls_.capture_end, "hipStreamEndCapture");
    library_.resolve(calls_.exchange_capture_mode, "hipThreadExchangeStreamCaptureMode");
    library_.resolve(calls_.graph_instantiate, "hipGraphInstantiateWithFlags");
    library_.resolve(calls_.graph_destroy, "hipGraphDestroy");
    library_.resolve(calls_.executable_launch, "hipGraphLaunch");
    library_.resolve(calls_.executable_destroy, "hipGraphExecDestroy");
    library_.resolve(calls_.synchronize, "hipDeviceSynchronize");
    library_.resolve(calls_.event_create, "hipEventCreateWithFlags");
    library_.resolve(calls_.event_destroy, "hipEventDestroy");
    library_.resolve(calls_.event_record, "hipEventRecord");
    library_.resolve(calls_.event_synchronize, "hipEventSynchronize");
    library_.resolve(calls_.allocate, "hipMalloc");
    library_.resolve(calls_.free, "hipFree");
    library_.resolve(calls_.allocate_host, "hipHostMalloc");
    library_.resolve(calls_.free_host, "hipHostFree");
    library_.resolve(calls_.fill, "hipMemsetD8Async");
    library_.resolve(calls_.initialize, "hipInit");
    library_.resolve(calls_.runtime_version, "hipRuntimeGetVersion");
    library_.resolve(calls_.device_count, "hipGetDeviceCount");
    library_.resolve(calls_.device_name, "hipDeviceGetName");
    library_.resolve(calls_.device_attribute, "hipDeviceGetAttribute");
    library_.resolve(calls_.device_memory, "hipDeviceTotalMem");
    // ROCm 6 kept the old struct under the old name: asking it for the new one by that name reads the wrong bytes.
    calls_.since_6 = library_.has("hipGetDevicePropertiesR0600");
    library_.resolve(calls_.device_properties,
                     calls_.since_6 ? "hipGetDevicePropertiesR0600" : "hipGetDeviceProperties");
    library_.resolve(calls_.current_device, "hipGetDevice");
    library_.resolve(calls_.set_device, "hipSetDevice");
    library_.resolve(calls_.module_load, "hipModuleLoadData");
    library_.resolve(calls_.copy, "hipMemcpyAsync");
    library_.resolve(calls_.pointer_attributes, "hipPointerGetAttributes");
    calls_.error_name = reinterpret_cast<const char* (*)(int)>(library_.symbol("hipGetErrorName"));
    calls_.error_text = reinterpret_cast<const char* (*)(int)>(library_.symbol("hipGetErrorString"));
}

void Driver::require(const char* call, int code) const {
    if (code != 0) gpu::refuse_driver_error(code, call + (": " + words_for(calls_, code)));
}

int Driver::device_count() {
    const int code = calls_.initialize.function(0);
    if (code == gpu::kNoDevice) return 0;
    require(calls_.initialize.name, code);
    int count = 0;
    const int counted = calls_.device_count.function(&count);
    if (counted == gpu::kNoDevice) return 0;
    require(calls_.device_count.name, counted);
    return count;
}

std::unique_ptr<gpu::DriverDevice> Driver::open(int ordinal, const char* blas_library) {
    return std::make_unique<Device>(calls_, ordinal, blas_library);
}

}  // namespace kv8::hip
