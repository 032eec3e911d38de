#include "gpu/host/vendor/vendor_device.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "dispatch/error.h"
#include "gpu/host/vendor/failure.h"
#include "gpu/host/vendor/numbers.h"

namespace kv8::gpu {
namespace {

void* as_pointer(uint64_t value) { return reinterpret_cast<void*>(value); }

}  // namespace

// A kernel's first call may come while the caller captures a graph: loading its module is no part of that. Nor is what a matrix
// product's first call on another stream allocates.
class VendorDevice::RelaxedCapture {
  public:
    explicit RelaxedCapture(const VendorDevice& device) : device_(device) { exchange(); }
    ~RelaxedCapture() {
        quietly([&] { exchange(); });
    }
    RelaxedCapture(const RelaxedCapture&) = delete;
    RelaxedCapture& operator=(const RelaxedCapture&) = delete;

  private:
    void exchange() { device_.require(device_.calls_.exchange_capture_mode, &mode_); }

    const VendorDevice& device_;
    int mode_ = kCaptureRelaxed;  // the thread's other mode
};

void VendorDevice::fail(const char* call, int code) const { refuse_driver_error(code, call + (": " + words(code))); }

uint64_t VendorDevice::free_memory() {
    const Current current(*this);
    size_t free = 0, total = 0;
    require(calls_.memory_info, &free, &total);
    return free;
}

// ---- modules and kernels

bool VendorDevice::serves(const EmbeddedImage& image) const { return *image.arch == 0 || traits_.arch == image.arch; }

const EmbeddedImage& VendorDevice::image_of(const char* module) const {
    const Images all = images();
    const EmbeddedImage* found = std::find_if(all.begin, all.end, [&](const EmbeddedImage& image) {
        return std::strcmp(image.module, module) == 0 && serves(image);
    });
    if (found == all.end)
        refuse(KV8_INTERNAL_ERROR, "This plug-in has no module %s for %s.", module, traits_.arch.c_str());
    return *found;
}

VendorDevice::Module& VendorDevice::loaded(const char* module) {
    auto found = modules_.find(std::string_view(module));
    if (found != modules_.end()) return found->second;
    const EmbeddedImage& image = image_of(module);
    try {
        return modules_.emplace(module, Module{load(image), {}}).first->second;
    } catch (const Refusal& refusal) {
        if (refusal.status != KV8_UNSUPPORTED) throw;
        refuse(KV8_UNSUPPORTED,
               "%s is a %s, and its driver does not take module %s; this plug-in has kernels for %s. %s",
               traits_.name.c_str(), traits_.arch.c_str(), module, images().architectures, refusal.message);
    }
}

void VendorDevice::probe() {
    const auto bytes = [](const EmbeddedImage& image) {
        return static_cast<const char*>(image.end) - static_cast<const char*>(image.begin);
    };
    const Images all = images();
    const EmbeddedImage* smallest = nullptr;
    for (const EmbeddedImage* image = all.begin; image != all.end; image++)
        if (serves(*image) && (smallest == nullptr || bytes(*image) < bytes(*smallest))) smallest = image;
    if (smallest == nullptr)
        refuse(KV8_UNSUPPORTED, "%s is a %s; this plug-in has kernels for %s.", traits_.name.c_str(),
               traits_.arch.c_str(), all.architectures);
    const Current current(*this);
    const RelaxedCapture relaxed(*this);
    const std::lock_guard<std::mutex> lock(turn_);
    loaded(smallest->module);
}

Function VendorDevice::function(const char* module, const char* name, int shared_bytes) {
    const std::lock_guard<std::mutex> lock(turn_);
    auto known = modules_.find(std::string_view(module));
    if (known != modules_.end()) {
        auto kernel = known->second.kernels.find(std::string_view(name));
        if (kernel != known->second.kernels.end() && kernel->second.shared_bytes >= shared_bytes)
            return kernel->second.function;
    }
    const Current current(*this);
    const RelaxedCapture relaxed(
        *this);  // also when it is found: drivers may load a kernel then, and not with its module
    Module& in = loaded(module);
    Kernel kernel{0, shared_bytes};
    require(calls_.module_function, &kernel.function, in.handle, name);
    allow_shared(kernel.function, shared_bytes);
    in.kernels[name] = kernel;
    return kernel.function;
}

void VendorDevice::unload() noexcept {
    blas_.reset();
    if (blas_workspace_ != 0) calls_.free.function(blas_workspace_);
    blas_workspace_ = 0;
    for (const auto& [name, module] : modules_) calls_.module_unload.function(module.handle);
    modules_.clear();
}

void VendorDevice::launch(const Launch& l, Stream stream) {
    const Current current(*this);
    size_t bytes = l.params_bytes;
    void* arguments[] = {as_pointer(kLaunchBuffer), const_cast<void*>(l.params), as_pointer(kLaunchBufferBytes), &bytes,
                         as_pointer(launch_arguments_end())};
    require(calls_.launch, l.function, static_cast<unsigned>(l.blocks), 1u, 1u, static_cast<unsigned>(l.threads), 1u,
            1u, static_cast<unsigned>(l.shared_bytes), stream, nullptr, arguments);
}

// ---- matrix products

// Opens the library, and chooses an algorithm for a new shape.
void VendorDevice::prepare(const kv8_matmul_args& args, Stream stream) {
    int capturing = 0;
    require(calls_.stream_is_capturing, stream, &capturing);
    if (capturing != 0)
        refuse(KV8_INVALID_ARGUMENT,
               "The stream is being captured into a graph, and this is the first matrix product of %d outputs and %d "
               "inputs, which chooses an algorithm; call kv8_matmul once with each shape before the capture.",
               args.outputs, args.inputs);
    const RelaxedCapture relaxed(*this);
    if (blas_ == nullptr) blas_ = std::make_unique<BlasLt>(blas_vendor_, blas_library_.c_str());
    if (blas_workspace_ == 0) require(calls_.allocate, &blas_workspace_, size_t{BlasLt::kWorkspaceBytes});
    blas_->choose(args);
}

void VendorDevice::multiply(const kv8_matmul_args& args, Stream stream) {
    const Current current(*this);
    const std::lock_guard<std::mutex> lock(blas_turn_);
    if (blas_ == nullptr || !blas_->has_chosen(args)) prepare(args, stream);
    blas_->multiply(args, blas_workspace_, stream);
}

// ---- streams

Stream VendorDevice::create_stream() {
    const Current current(*this);
    Stream stream = 0;
    require(calls_.stream_create, &stream, kStreamNonBlocking);
    return stream;
}

void VendorDevice::destroy_stream(Stream stream) {
    const Current current(*this);
    require(calls_.stream_destroy, stream);
}

void VendorDevice::synchronize(Stream stream) {
    const Current current(*this);
    require(calls_.stream_synchronize, stream);
}

void VendorDevice::synchronize_all() {
    const Current current(*this);
    require(calls_.synchronize);
}

bool VendorDevice::is_capturing(Stream stream) {
    const Current current(*this);
    int status = 0;
    require(calls_.stream_is_capturing, stream, &status);
    return status != 0;
}

bool VendorDevice::waits_for_default_stream(Stream stream) {
    const Current current(*this);
    unsigned flags = 0;
    require(calls_.stream_flags, stream, &flags);
    return (flags & kStreamNonBlocking) == 0;
}

// ---- graphs

// In this mode what other threads do neither breaks the capture nor is kept from them, but for a wait for all streams.
void VendorDevice::begin_capture(Stream stream) {
    const Current current(*this);
    require(calls_.capture_begin, stream, kCaptureThreadLocal);
}

// The vendors' graphs are a description and, made from it, what can be launched; only that is kept.
Graph VendorDevice::end_capture(Stream stream) {
    const Current current(*this);
    Handle description = 0, executable = 0;
    require(calls_.capture_end, stream, &description);
    const int made = calls_.graph_instantiate.function(&executable, description, 0);
    const int destroyed = calls_.graph_destroy.function(description);
    if (made != 0) fail(calls_.graph_instantiate.name, made);
    if (destroyed != 0) {
        calls_.executable_destroy.function(executable);
        fail(calls_.graph_destroy.name, destroyed);
    }
    return executable;
}

void VendorDevice::launch_graph(Graph graph, Stream stream) {
    const Current current(*this);
    require(calls_.executable_launch, graph, stream);
}

void VendorDevice::destroy_graph(Graph graph) {
    const Current current(*this);
    require(calls_.executable_destroy, graph);
}

// ---- events

Event VendorDevice::create_event() {
    const Current current(*this);
    Event event = 0;
    require(calls_.event_create, &event, kEventWithoutTiming);
    return event;
}

void VendorDevice::destroy_event(Event event) {
    const Current current(*this);
    require(calls_.event_destroy, event);
}

void VendorDevice::record(Event event, Stream stream) {
    const Current current(*this);
    require(calls_.event_record, event, stream);
}

void VendorDevice::wait(Event event) {
    const Current current(*this);
    require(calls_.event_synchronize, event);
}

// ---- memory

uint64_t VendorDevice::allocate(uint64_t bytes) {
    const Current current(*this);
    uint64_t address = 0;
    require(calls_.allocate, &address, bytes);
    return address;
}

uint64_t VendorDevice::allocate_host(uint64_t bytes) {
    const Current current(*this);
    uint64_t address = 0;
    require(calls_.allocate_host, &address, bytes, kHostMemoryPortable | kHostMemoryMapped);
    return address;
}

void VendorDevice::release(uint64_t address, bool host) {
    const Current current(*this);
    require(host ? calls_.free_host : calls_.free, address);
}

void VendorDevice::copy(uint64_t to, uint64_t from, uint64_t bytes, Stream stream) {
    const Current current(*this);
    start_copy(to, from, bytes, stream);
}

void VendorDevice::fill(uint64_t to, uint8_t value, uint64_t bytes, Stream stream) {
    const Current current(*this);
    require(calls_.fill, to, value, bytes, stream);
}

Place VendorDevice::place_of(uint64_t address) {
    const Current current(*this);
    return find(address);
}

}  // namespace kv8::gpu
