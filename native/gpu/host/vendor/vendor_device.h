// A device of CUDA's or HIP's driver. The two differ in names and in a few arguments: what they share is here, over a
// table of the functions that both have; cuda/driver.cpp and hip/driver.cpp fill the table and say the rest.
#pragma once

#include <map>
#include <mutex>

#include "gpu/host/driver.h"
#include "gpu/host/images.h"
#include "gpu/host/vendor/blas_lt.h"
#include "gpu/host/vendor/library.h"

namespace kv8::gpu {

struct VendorCalls {
    Call<size_t*, size_t*> memory_info;  // free, total
    Call<Handle*, Handle, const char*> module_function;
    Call<Handle> module_unload;
    Call<Handle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, Handle, void**, void**> launch;
    Call<Handle*, unsigned> stream_create;
    Call<Handle> stream_destroy;
    Call<Handle> stream_synchronize;
    Call<Handle, int*> stream_is_capturing;
    Call<Handle, unsigned*> stream_flags;
    Call<Handle, int> capture_begin;
    Call<Handle, Handle*> capture_end;
    Call<int*> exchange_capture_mode;
    Call<Handle*, Handle, unsigned long long> graph_instantiate;
    Call<Handle> graph_destroy;
    Call<Handle, Handle> executable_launch;
    Call<Handle> executable_destroy;
    Call<> synchronize;
    Call<Handle*, unsigned> event_create;
    Call<Handle> event_destroy;
    Call<Handle, Handle> event_record;
    Call<Handle> event_synchronize;
    Call<Handle*, size_t> allocate;
    Call<Handle> free;
    Call<Handle*, size_t, unsigned> allocate_host;
    Call<Handle> free_host;
    Call<Handle, unsigned char, size_t, Handle> fill;
};

class VendorDevice : public DriverDevice {
  public:
    const DeviceTraits& traits() const final { return traits_; }
    uint64_t free_memory() final;
    Function function(const char* module, const char* name, int shared_bytes) final;
    void launch(const Launch& launch, Stream stream) final;
    void multiply(const kv8_matmul_args& args, Stream stream) final;
    Stream create_stream() final;
    void destroy_stream(Stream stream) final;
    void synchronize(Stream stream) final;
    void synchronize_all() final;
    bool is_capturing(Stream stream) final;
    bool waits_for_default_stream(Stream stream) final;
    void begin_capture(Stream stream) final;
    Graph end_capture(Stream stream) final;
    void launch_graph(Graph graph, Stream stream) final;
    void destroy_graph(Graph graph) final;
    Event create_event() final;
    void destroy_event(Event event) final;
    void record(Event event, Stream stream) final;
    void wait(Event event) final;
    uint64_t allocate(uint64_t bytes) final;
    uint64_t allocate_host(uint64_t bytes) final;
    void release(uint64_t address, bool host) final;
    void copy(uint64_t to, uint64_t from, uint64_t bytes, Stream stream) final;
    void fill(uint64_t to, uint8_t value, uint64_t bytes, Stream stream) final;
    Place place_of(uint64_t address) final;

  protected:
    VendorDevice(const VendorCalls& calls, const BlasLtVendor& blas, const char* blas_library)
        : calls_(calls), blas_vendor_(blas), blas_library_(blas_library == nullptr ? "" : blas_library) {}

    // The driver's functions act on the calling thread's current device, which the caller may have chosen for himself:
    // it is set for a call and put back after it.
    class Current {
      public:
        explicit Current(VendorDevice& device) : device_(device), before_(device.enter()) {}
        ~Current() { device_.leave(before_); }
        Current(const Current&) = delete;
        Current& operator=(const Current&) = delete;

      private:
        VendorDevice& device_;
        const int before_;
    };

    // What the vendors do not share. `leave` is given what `enter` returned.
    virtual int enter() = 0;
    virtual void leave(int before) noexcept = 0;
    virtual std::string words(int code) const = 0;  // the vendor's name and text
    virtual Handle load(const EmbeddedImage& image) = 0;
    virtual void allow_shared(Function function, int bytes) = 0;
    virtual void start_copy(uint64_t to, uint64_t from, uint64_t bytes, Stream stream) = 0;
    virtual Place find(uint64_t address) = 0;
    virtual uint64_t launch_arguments_end() const = 0;

    template <class... Parameters, class... Arguments>
    void require(const Call<Parameters...>& call, Arguments... arguments) const {
        if (const int code = call.function(arguments...)) fail(call.name, code);
    }
    [[noreturn]] void fail(const char* call, int code) const;

    // Loads the smallest module, to find out whether there is code for this device at all; and gives back all modules and
    // what matrix products took.
    void probe();
    void unload() noexcept;

    DeviceTraits traits_;

  private:
    class RelaxedCapture;
    struct Kernel {
        Function function = 0;
        int shared_bytes = 0;  // allowed so far
    };
    struct Module {
        Handle handle = 0;
        std::map<std::string, Kernel, std::less<>> kernels;
    };

    bool serves(const EmbeddedImage& image) const;
    const EmbeddedImage& image_of(const char* module) const;
    Module& loaded(const char* module);

    void prepare(const kv8_matmul_args& args, Stream stream);

    const VendorCalls& calls_;
    const BlasLtVendor& blas_vendor_;
    const std::string blas_library_;  // empty: the vendor's names
    std::mutex blas_turn_;            // guards the two that follow
    std::unique_ptr<BlasLt> blas_;
    uint64_t blas_workspace_ = 0;
    std::mutex turn_;  // guards what follows
    std::map<std::string, Module, std::less<>> modules_;
};

}  // namespace kv8::gpu
