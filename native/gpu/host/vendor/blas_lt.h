// Matrix products by cuBLASLt or hipBLASLt, whose functions differ in their prefix and whose numbers in a few values
// (NVIDIA, cuBLAS documentation, "Using the cuBLASLt API"; AMD, hipBLASLt documentation, "API reference").
//
// So that a row's bits depend neither on the other rows nor on their number, an algorithm is chosen once for each shape,
// for kTypicalRows rows, and then used with any number of them: some at a time, where it wants workspace for each. One that
// splits a sum over inputs, without which narrow layers of many inputs leave most of a GPU idle, adds the parts in float32 and
// in one order, where the library lets itself be told so.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "gpu/host/vendor/library.h"
#include "kv8/kv8.h"

namespace kv8::gpu {

// Handles and addresses are 64 bits, whether the vendor calls them integers or pointers.
using Handle = uint64_t;
static_assert(sizeof(void*) == sizeof(Handle));

// What a library's error code is called, and what it means to the caller.
struct BlasLtStatus {
    int code;
    const char* name;
    kv8_status status;
};

// What the vendors do not share. Types are numbered alike: 0 float32, 2 float16, 14 bfloat16; and so are the epilogue with a
// bias, 4, and the preference for bytes of workspace, 1.
struct BlasLtVendor {
    const char* prefix;  // of functions
    std::vector<std::string> libraries;
    const char* cure;
    int compute_float32;                                 // float32's own products, with all their bits
    int transpose;                                       // as an operation
    int transpose_a, epilogue, bias_pointer, bias_type;  // attributes of a product's descriptor
    int reduction_schemes,
        alignment_of_a;  // preferences, the latter followed by those of B, C and D; -1: there are none
    size_t algorithm_bytes;
    bool has_check;  // whether an algorithm can be asked about numbers of rows that it was not chosen for
    std::vector<BlasLtStatus> statuses;
};

// A library's handle on the current device, and what was chosen with it. One call at a time; the device is current in all of
// them and in the destructor. Functions throw Refusal.
class BlasLt {
  public:
    static constexpr uint64_t kWorkspaceBytes = 32u << 20;

    // `library`: its path, or empty for the vendor's names. Throws KV8_LIBRARY_MISSING.
    BlasLt(const BlasLtVendor& vendor, const char* library);
    ~BlasLt();
    BlasLt(const BlasLt&) = delete;
    BlasLt& operator=(const BlasLt&) = delete;

    // An algorithm for calls of this shape, which multiply needs.
    bool has_chosen(const kv8_matmul_args& args) const;
    void choose(const kv8_matmul_args& args);

    // `workspace`: kWorkspaceBytes of the device, in use until the call has completed.
    void multiply(const kv8_matmul_args& args, Handle workspace, Handle stream);

  private:
    static constexpr int kTypicalRows = 64, kMostRows = 1 << 14, kLeastRowsAtOnce = 256;  // a step's
    static constexpr int kCandidates = 8;

    struct Calls {
        Call<Handle*> create;
        Call<Handle> destroy;
        Call<Handle*, int, int> product_create;
        Call<Handle> product_destroy;
        Call<Handle, int, const void*, size_t> product_set;
        Call<Handle*, int, uint64_t, uint64_t, int64_t> layout_create;
        Call<Handle> layout_destroy;
        Call<Handle*> preference_create;
        Call<Handle> preference_destroy;
        Call<Handle, int, const void*, size_t> preference_set;
        Call<Handle, Handle, Handle, Handle, Handle, Handle, Handle, int, void*, int*> heuristic;
        Call<Handle, Handle, Handle, Handle, Handle, Handle, const void*, void*> check;
        Call<Handle, Handle, const void*, Handle, Handle, Handle, Handle, const void*, Handle, Handle, Handle, Handle,
             const void*, Handle, size_t, Handle>
            matmul;
    };

    // One of the library's objects.
    class Object {
      public:
        Object() = default;
        Object(const Call<Handle>& destroy, Handle handle) : destroy_(&destroy), handle_(handle) {}
        ~Object() {
            if (handle_ != 0) destroy_->function(handle_);
        }
        Object(Object&& other) noexcept { swap(other); }
        Object& operator=(Object&& other) noexcept {
            swap(other);
            return *this;
        }
        Handle get() const { return handle_; }

      private:
        void swap(Object& other) {
            std::swap(destroy_, other.destroy_);
            std::swap(handle_, other.handle_);
        }
        const Call<Handle>* destroy_ = nullptr;
        Handle handle_ = 0;
    };

    // Outputs, inputs, x's and y's dtype, bias, and the bytes that every address and row is a multiple of.
    using Shape = std::tuple<int32_t, int32_t, kv8_dtype, kv8_dtype, bool, uint32_t>;
    static Shape shape_of(const kv8_matmul_args& args);

    struct Batch {  // how x and y lie in memory
        Object x, y;
        int32_t rows = 0;
        int64_t x_stride = 0, y_stride = 0;  // elements
    };

    struct Plan {
        Object product, weights;
        Batch batch;  // the latest call's
        std::vector<unsigned char> algorithm;
        int32_t rows_at_once = 0;  // calls of more are several of the library's
    };

    template <class... Parameters, class... Arguments>
    void require(const Call<Parameters...>& call, Arguments... arguments) const {
        if (const int code = call.function(arguments...)) fail(call.name, code);
    }
    [[noreturn]] void fail(const char* call, int code, const std::string& about = "") const;
    std::string words(int code) const;

    template <class... Arguments>
    Object make(const Call<Handle*, Arguments...>& create, const Call<Handle>& destroy, Arguments... arguments) const {
        Handle handle = 0;
        require(create, &handle, arguments...);
        return Object(destroy, handle);
    }
    Batch batch_of(const kv8_matmul_args& args, int32_t rows, int64_t x_stride, int64_t y_stride) const;
    Plan plan_for(const kv8_matmul_args& args) const;
    void choose_algorithm(const kv8_matmul_args& args, Plan& plan) const;
    bool serves(const Plan& plan, const Batch& batch, const void* algorithm) const;

    const BlasLtVendor& vendor_;
    const Library library_;
    std::vector<std::string> names_;  // of functions
    Calls calls_;
    Object handle_;
    std::map<Shape, Plan> plans_;
};

}  // namespace kv8::gpu
