#include "gpu/host/vendor/blas_lt.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "dispatch/error.h"
#include "dispatch/extents.h"

namespace kv8::gpu {
namespace {

constexpr int kFloat32 = 0, kFloat16 = 2, kBFloat16 = 14;  // types
constexpr int kEpilogueBias = 4;
constexpr int kWorkspacePreference = 1;
// A sum is not split; or its parts may be added in float32, in the workspace and in one order. A bias is added to what that gives
// as y's type, which is a rounding too many.
constexpr uint32_t kNoReduction = 0, kFloat32Reduction = 2;
constexpr uint32_t kMostAlignment = 16;  // that any kernel asks for

int type_of(kv8_dtype dtype) { return dtype == KV8_F32 ? kFloat32 : dtype == KV8_F16 ? kFloat16 : kBFloat16; }

// A lone row's stride is the batch's, where it could be one, so that it is planned for like many rows.
int64_t stride_of(const kv8_rows& rows, int32_t tokens, int32_t width) {
    const int64_t size = element_bytes(rows.dtype);
    const bool is_one = rows.token_stride >= width * size && rows.token_stride % size == 0;
    return tokens > 1 || is_one ? rows.token_stride / size : width;
}

uint32_t alignment_of(const kv8_matmul_args& args) {
    const uint64_t x_size = static_cast<uint64_t>(element_bytes(args.x.dtype)),
                   y_size = static_cast<uint64_t>(element_bytes(args.y.dtype));
    const uint64_t all = args.x.data.ptr | args.y.data.ptr | args.weights.ptr | args.bias.ptr |
                         static_cast<uint64_t>(stride_of(args.x, args.tokens, args.inputs)) * x_size |
                         static_cast<uint64_t>(stride_of(args.y, args.tokens, args.outputs)) * y_size |
                         static_cast<uint64_t>(args.inputs) * x_size | kMostAlignment;
    return static_cast<uint32_t>(all & (~all + 1));  // the lowest bit
}

// A candidate begins with its algorithm; the bytes of workspace that it needs and its status follow.
struct CandidateTail {
    size_t workspace_bytes;
    int32_t status;
    float waves;
    int32_t reserved[4];
};

template <class Function>
void resolve(const Library& library, std::vector<std::string>& names, const char* prefix, const char* name,
             Function& call) {
    names.push_back(std::string(prefix) + name);
    library.resolve(call, names.back().c_str());
}

}  // namespace

BlasLt::BlasLt(const BlasLtVendor& vendor, const char* library)
    : vendor_(vendor),
      library_("The library of matrix products", library, "KV8_BLAS_LIBRARY", vendor.libraries, vendor.cure) {
    names_.reserve(32);  // they stay where they are: calls point to them
    const auto get = [&](const char* name, auto& call) { resolve(library_, names_, vendor_.prefix, name, call); };
    get("Create", calls_.create);
    get("Destroy", calls_.destroy);
    get("MatmulDescCreate", calls_.product_create);
    get("MatmulDescDestroy", calls_.product_destroy);
    get("MatmulDescSetAttribute", calls_.product_set);
    get("MatrixLayoutCreate", calls_.layout_create);
    get("MatrixLayoutDestroy", calls_.layout_destroy);
    get("MatmulPreferenceCreate", calls_.preference_create);
    get("MatmulPreferenceDestroy", calls_.preference_destroy);
    get("MatmulPreferenceSetAttribute", calls_.preference_set);
    get("MatmulAlgoGetHeuristic", calls_.heuristic);
    if (vendor_.has_check) get("MatmulAlgoCheck", calls_.check);
    get("Matmul", calls_.matmul);
    handle_ = make(calls_.create, calls_.destroy);
}

// The library's objects go before the library, which is the earliest of the members.
BlasLt::~BlasLt() = default;

std::string BlasLt::words(int code) const {
    const auto known = std::find_if(vendor_.statuses.begin(), vendor_.statuses.end(),
                                    [&](const BlasLtStatus& status) { return status.code == code; });
    return (known == vendor_.statuses.end() ? "unknown status" : known->name) + (" (" + std::to_string(code) + ")");
}

void BlasLt::fail(const char* call, int code, const std::string& about) const {
    const auto known = std::find_if(vendor_.statuses.begin(), vendor_.statuses.end(),
                                    [&](const BlasLtStatus& status) { return status.code == code; });
    refuse(known == vendor_.statuses.end() ? KV8_DEVICE_ERROR : known->status, "%s: %s%s", call, words(code).c_str(),
           about.c_str());
}

// Matrices are column by column to the library: rows [tokens][width] are its [width][tokens], and y^T = weights x^T, of which
// the weights [outputs][inputs] are stored transposed.
BlasLt::Batch BlasLt::batch_of(const kv8_matmul_args& args, int32_t rows, int64_t x_stride, int64_t y_stride) const {
    const auto layout = [&](const kv8_rows& of, int32_t width, int64_t stride) {
        return make(calls_.layout_create, calls_.layout_destroy, type_of(of.dtype), static_cast<uint64_t>(width),
                    static_cast<uint64_t>(rows), stride);
    };
    Batch batch;
    batch.x = layout(args.x, args.inputs, x_stride);
    batch.y = layout(args.y, args.outputs, y_stride);
    batch.rows = rows;
    batch.x_stride = x_stride;
    batch.y_stride = y_stride;
    return batch;
}

BlasLt::Plan BlasLt::plan_for(const kv8_matmul_args& args) const {
    Plan plan;
    plan.product = make(calls_.product_create, calls_.product_destroy, vendor_.compute_float32, kFloat32);
    const auto set = [&](int attribute, auto value) {
        require(calls_.product_set, plan.product.get(), attribute, static_cast<const void*>(&value), sizeof(value));
    };
    set(vendor_.transpose_a, int32_t{vendor_.transpose});
    if (args.bias.ptr != 0) {
        set(vendor_.epilogue, int32_t{kEpilogueBias});
        set(vendor_.bias_type, int32_t{type_of(args.y.dtype)});
        set(vendor_.bias_pointer, args.bias.ptr);
    }
    plan.weights = make(calls_.layout_create, calls_.layout_destroy, type_of(args.x.dtype),
                        static_cast<uint64_t>(args.inputs), static_cast<uint64_t>(args.outputs), int64_t{args.inputs});
    return plan;
}

bool BlasLt::serves(const Plan& plan, const Batch& batch, const void* algorithm) const {
    std::vector<unsigned char> told(vendor_.algorithm_bytes + sizeof(CandidateTail));
    const int code = calls_.check.function(handle_.get(), plan.product.get(), plan.weights.get(), batch.x.get(),
                                           batch.y.get(), batch.y.get(), algorithm, told.data());
    CandidateTail tail;
    std::memcpy(&tail, told.data() + vendor_.algorithm_bytes, sizeof(tail));
    return code == 0 && tail.workspace_bytes <= kWorkspaceBytes;
}

void BlasLt::choose_algorithm(const kv8_matmul_args& args, Plan& plan) const {
    const uint32_t alignment = alignment_of(args);
    const Object preference = make(calls_.preference_create, calls_.preference_destroy);
    const auto prefer = [&](int which, auto value) {
        require(calls_.preference_set, preference.get(), which, static_cast<const void*>(&value), sizeof(value));
    };
    prefer(kWorkspacePreference, uint64_t{kWorkspaceBytes});
    if (vendor_.reduction_schemes >= 0)
        prefer(vendor_.reduction_schemes, args.bias.ptr != 0 ? kNoReduction : kFloat32Reduction);
    if (vendor_.alignment_of_a >= 0)
        for (int matrix = 0; matrix < 4; matrix++) prefer(vendor_.alignment_of_a + matrix, alignment);

    const auto batch = [&](int32_t rows) {
        return batch_of(args, rows, stride_of(args.x, args.tokens, args.inputs),
                        stride_of(args.y, args.tokens, args.outputs));
    };
    const Batch typical = batch(kTypicalRows);
    const size_t candidate_bytes = vendor_.algorithm_bytes + sizeof(CandidateTail);
    std::vector<unsigned char> candidates(kCandidates * candidate_bytes);
    int found = 0;
    const int code = calls_.heuristic.function(handle_.get(), plan.product.get(), plan.weights.get(), typical.x.get(),
                                               typical.y.get(), typical.y.get(), preference.get(), kCandidates,
                                               candidates.data(), &found);
    const std::string about = " for " + std::to_string(args.outputs) + " outputs of " + std::to_string(args.inputs) +
                              " inputs, x of dtype " + std::to_string(args.x.dtype) + ", y of " +
                              std::to_string(args.y.dtype) + (args.bias.ptr != 0 ? ", with bias" : ", without bias");
    if (code != 0) fail(calls_.heuristic.name, code, about);

    // The first that serves one row and many: as many as a step could have, or as its workspace has room for at once.
    const Batch one = batch(1);
    std::vector<Batch> many;
    if (vendor_.has_check)
        for (int32_t rows = kMostRows; rows >= kLeastRowsAtOnce; rows /= 2) many.push_back(batch(rows));
    for (int i = 0; i < found; i++) {
        const unsigned char* candidate = candidates.data() + static_cast<size_t>(i) * candidate_bytes;
        CandidateTail tail;
        std::memcpy(&tail, candidate + vendor_.algorithm_bytes, sizeof(tail));
        if (tail.status != 0 || tail.workspace_bytes > kWorkspaceBytes) continue;
        plan.algorithm = {candidate, candidate + vendor_.algorithm_bytes};
        plan.rows_at_once = INT32_MAX;
        if (!vendor_.has_check) return;
        if (!serves(plan, one, candidate)) continue;
        for (const Batch& rows : many) {
            if (!serves(plan, rows, candidate)) continue;
            plan.rows_at_once = rows.rows;
            return;
        }
    }
    refuse(KV8_UNSUPPORTED,
           "%s: the library has no algorithm that serves every number of rows%s, rows and addresses multiples of %u "
           "bytes.",
           calls_.heuristic.name, about.c_str(), alignment);
}

BlasLt::Shape BlasLt::shape_of(const kv8_matmul_args& args) {
    return {args.outputs, args.inputs, args.x.dtype, args.y.dtype, args.bias.ptr != 0, alignment_of(args)};
}

bool BlasLt::has_chosen(const kv8_matmul_args& args) const { return plans_.count(shape_of(args)) != 0; }

void BlasLt::choose(const kv8_matmul_args& args) {
    Plan plan = plan_for(args);
    choose_algorithm(args, plan);
    plans_.emplace(shape_of(args), std::move(plan));
}

void BlasLt::multiply(const kv8_matmul_args& args, Handle workspace, Handle stream) {
    Plan& plan = plans_.at(shape_of(args));
    if (args.bias.ptr != 0)
        require(calls_.product_set, plan.product.get(), vendor_.bias_pointer, static_cast<const void*>(&args.bias.ptr),
                sizeof(args.bias.ptr));
    const int64_t x_stride = stride_of(args.x, args.tokens, args.inputs),
                  y_stride = stride_of(args.y, args.tokens, args.outputs);
    const float one = 1.0f, zero = 0.0f;
    const void *alpha = &one, *beta = &zero, *algorithm = plan.algorithm.data();
    Batch& batch = plan.batch;
    for (int32_t first = 0, rows; first < args.tokens; first += rows) {
        rows = std::min(args.tokens - first, plan.rows_at_once);
        if (batch.rows != rows || batch.x_stride != x_stride || batch.y_stride != y_stride)
            batch = batch_of(args, rows, x_stride, y_stride);
        const uint64_t x = args.x.data.ptr + static_cast<uint64_t>(first * args.x.token_stride),
                       y = args.y.data.ptr + static_cast<uint64_t>(first * args.y.token_stride);
        require(calls_.matmul, handle_.get(), plan.product.get(), alpha, args.weights.ptr, plan.weights.get(), x,
                batch.x.get(), beta, y, batch.y.get(), y, batch.y.get(), algorithm, workspace, size_t{kWorkspaceBytes},
                stream);
    }
}

}  // namespace kv8::gpu
