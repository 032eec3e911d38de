// Stands in for libcublasLt, or with HIP for libhipblaslt; see blas_lt_stub.h. Numbers are those of the vendors' documentation,
// written down here once more, apart from kv8's.
#include "stubs/blas_lt_stub.h"

#include <cstring>

#include "elements.h"
#include "exact_fp8.h"

using namespace kv8_test;

#ifdef HIP
#define NAME(function) hipblasLt##function
#else
#define NAME(function) cublasLt##function
#endif

namespace {

#ifdef HIP
constexpr int kInvalidValue = 3, kNotSupported = 7;
constexpr int kCompute32F = 2, kNoTranspose = 111, kTranspose = 112;
constexpr int kTransA = 0, kTransB = 1, kEpilogue = 2, kBiasPointer = 3, kBiasType = 4;
constexpr size_t kAlgorithmBytes = 24;
#else
constexpr int kInvalidValue = 7, kNotSupported = 15;
constexpr int kCompute32F = 68, kNoTranspose = 0, kTranspose = 1;
constexpr int kTransA = 3, kTransB = 4, kEpilogue = 7, kBiasPointer = 8, kBiasType = 26;
constexpr int kReductionSchemes = 3, kAlignmentOfA = 5;
constexpr size_t kAlgorithmBytes = 64;
#endif
constexpr int kMaxWorkspace = 1;
constexpr int kEpilogueDefault = 1, kEpilogueBias = 4;
constexpr uint64_t kMagic = 0x6b7638616c676f21;

struct Algorithm {
    uint64_t magic;
    int number, fit;
    unsigned char rest[kAlgorithmBytes - 16];
};
static_assert(sizeof(Algorithm) == kAlgorithmBytes);

struct Candidate {
    Algorithm algorithm;
    size_t workspace_bytes;
    int status;
    float waves;
    int reserved[4];
};

struct Descriptor {
    int compute, scale;
    int trans_a = kNoTranspose, trans_b = kNoTranspose, epilogue = kEpilogueDefault, bias_type = -1;
    uint64_t bias = 0;
};
struct Layout {
    int type;
    uint64_t rows, columns;
    int64_t leading;
};
struct Preference {
    uint64_t workspace = 0;
    uint32_t reduction_schemes = 7, alignments[4] = {256, 256, 256, 256};
};

int entered(const char* function, int code = 0) {
    BlasStub& stub = *kv8_blas_stub();
    stub.calls[function]++;
    const auto failure = stub.failures.find(function);
    if (failure == stub.failures.end()) return code;
    const int injected = failure->second;
    stub.failures.erase(failure);
    return injected;
}

template <class Object>
int give(Object* object, void** out) {
    kv8_blas_stub()->objects.insert(*out = object);
    return 0;
}

template <class Object>
int destroyed(void* object) {
    if (kv8_blas_stub()->objects.erase(object) != 1) return kInvalidValue;
    delete static_cast<Object*>(object);
    return 0;
}

bool is_alive(const void* object) { return kv8_blas_stub()->objects.count(const_cast<void*>(object)) != 0; }

template <class Value>
int read_into(Value& value, const void* from, size_t bytes) {
    if (bytes != sizeof(value)) return kInvalidValue;
    std::memcpy(&value, from, bytes);
    return 0;
}

kv8_dtype dtype_of(int type) { return type == 0 ? KV8_F32 : type == 2 ? KV8_F16 : type == 14 ? KV8_BF16 : -1; }

double element(int type, uint64_t base, uint64_t index) {
    const kv8_dtype dtype = dtype_of(type);
    if (dtype == KV8_F32) return double(reinterpret_cast<const float*>(base)[index]);
    const uint32_t bits = reinterpret_cast<const uint16_t*>(base)[index];
    return double(float_of(exact::convert(dtype, KV8_F32, bits)));
}

void set_element(int type, uint64_t base, uint64_t index, double value) {
    const kv8_dtype dtype = dtype_of(type);
    if (dtype == KV8_F32)
        reinterpret_cast<float*>(base)[index] = float(value);
    else
        reinterpret_cast<uint16_t*>(base)[index] =
            static_cast<uint16_t>(exact::convert(KV8_F32, dtype, bits_of(float(value))));
}

// What the library refuses of a product. D is [outputs][rows], column by column.
int check(const Descriptor& of, const Layout& a, const Layout& b, const Layout& c, const Layout& d) {
    const bool transposed = of.trans_a == kTranspose;
    const uint64_t outputs = transposed ? a.columns : a.rows, inputs = transposed ? a.rows : a.columns;
    for (const Layout* layout : {&a, &b, &c, &d})
        if (dtype_of(layout->type) < 0 || layout->rows == 0 || layout->columns == 0 ||
            layout->leading < static_cast<int64_t>(layout->rows))
            return kInvalidValue;
    if (of.compute != kCompute32F || of.scale != 0 || of.trans_b != kNoTranspose) return kNotSupported;
    if (b.rows != inputs || d.rows != outputs || d.columns != b.columns) return kInvalidValue;
    if (c.rows != d.rows || c.columns != d.columns || c.type != d.type) return kInvalidValue;
    if (a.type != b.type || (d.type != a.type && d.type != 0)) return kNotSupported;
    if (of.epilogue != kEpilogueDefault && (of.epilogue != kEpilogueBias || of.bias_type != d.type))
        return kNotSupported;
    return 0;
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

BlasStub* kv8_blas_stub() {
    static BlasStub& stub = *new BlasStub;
    return &stub;
}

int NAME(Create)(void** handle) {
    const int code = entered("Create");
    return code != 0 ? code : give(new int, handle);
}
int NAME(Destroy)(void* handle) { return entered("Destroy", destroyed<int>(handle)); }

int NAME(MatmulDescCreate)(void** out, int compute, int scale) {
    const int code = entered("MatmulDescCreate");
    return code != 0 ? code : give(new Descriptor{compute, scale}, out);
}
int NAME(MatmulDescDestroy)(void* object) { return entered("MatmulDescDestroy", destroyed<Descriptor>(object)); }

int NAME(MatmulDescSetAttribute)(void* object, int which, const void* from, size_t bytes) {
    if (const int code = entered("MatmulDescSetAttribute")) return code;
    if (!is_alive(object)) return kInvalidValue;
    Descriptor& of = *static_cast<Descriptor*>(object);
    switch (which) {
        case kTransA:
            return read_into(of.trans_a, from, bytes);
        case kTransB:
            return read_into(of.trans_b, from, bytes);
        case kEpilogue:
            return read_into(of.epilogue, from, bytes);
        case kBiasPointer:
            return read_into(of.bias, from, bytes);
        case kBiasType:
            return read_into(of.bias_type, from, bytes);
        default:
            return kInvalidValue;
    }
}

int NAME(MatrixLayoutCreate)(void** out, int type, uint64_t rows, uint64_t columns, int64_t leading) {
    const int code = entered("MatrixLayoutCreate");
    return code != 0 ? code : give(new Layout{type, rows, columns, leading}, out);
}
int NAME(MatrixLayoutDestroy)(void* object) { return entered("MatrixLayoutDestroy", destroyed<Layout>(object)); }

int NAME(MatmulPreferenceCreate)(void** out) {
    const int code = entered("MatmulPreferenceCreate");
    return code != 0 ? code : give(new Preference, out);
}
int NAME(MatmulPreferenceDestroy)(void* object) {
    return entered("MatmulPreferenceDestroy", destroyed<Preference>(object));
}

int NAME(MatmulPreferenceSetAttribute)(void* object, int which, const void* from, size_t bytes) {
    if (const int code = entered("MatmulPreferenceSetAttribute")) return code;
    if (!is_alive(object)) return kInvalidValue;
    Preference& preference = *static_cast<Preference*>(object);
    if (which == kMaxWorkspace) return read_into(preference.workspace, from, bytes);
#ifndef HIP
    if (which == kReductionSchemes) return read_into(preference.reduction_schemes, from, bytes);
    if (which >= kAlignmentOfA && which < kAlignmentOfA + 4)
        return read_into(preference.alignments[which - kAlignmentOfA], from, bytes);
#endif
    return kInvalidValue;
}

int NAME(MatmulAlgoGetHeuristic)(void* handle, void* descriptor, void* a, void* b, void* c, void* d, void* preference,
                                 int requested, Candidate* candidates, int* found) {
    if (const int code = entered("MatmulAlgoGetHeuristic")) return code;
    for (const void* object : {handle, descriptor, a, b, c, d, preference})
        if (!is_alive(object)) return kInvalidValue;
    BlasStub& stub = *kv8_blas_stub();
    if (const int code = check(*static_cast<Descriptor*>(descriptor), *static_cast<Layout*>(a),
                               *static_cast<Layout*>(b), *static_cast<Layout*>(c), *static_cast<Layout*>(d)))
        return code;
    const Preference& given = *static_cast<Preference*>(preference);
    stub.rows_of_heuristics.push_back(static_cast<Layout*>(d)->columns);
    stub.reduction_schemes = given.reduction_schemes;
    std::memcpy(stub.alignments, given.alignments, sizeof(given.alignments));
    *found = 0;
    for (int i = 0; i < stub.candidates && i < requested; i++) {
        Candidate candidate{};
        candidate.algorithm.magic = kMagic;
        candidate.algorithm.number = stub.next_algorithm++;
        candidate.algorithm.fit = i >= stub.unfit;
        candidate.workspace_bytes = given.workspace;
        // Each of those that do not do is wrong in its own way; libraries that cannot be asked say so themselves.
        if (!candidate.algorithm.fit && i % 2 == 0) candidate.status = kNotSupported;
        if (!candidate.algorithm.fit && i % 2 == 1) candidate.workspace_bytes = given.workspace + 1;
        candidates[i] = candidate;
        ++*found;
    }
    return 0;
}

#ifndef HIP
// An algorithm of the first kind that does not do fails for one row, of the second for many.
int NAME(MatmulAlgoCheck)(void* handle, void* descriptor, void* a, void* b, void* c, void* d,
                          const Algorithm* algorithm, Candidate* told) {
    if (const int code = entered("MatmulAlgoCheck")) return code;
    for (const void* object : {handle, descriptor, a, b, c, d})
        if (!is_alive(object)) return kInvalidValue;
    if (algorithm->magic != kMagic) return kInvalidValue;
    const int code = check(*static_cast<Descriptor*>(descriptor), *static_cast<Layout*>(a), *static_cast<Layout*>(b),
                           *static_cast<Layout*>(c), *static_cast<Layout*>(d));
    *told = Candidate{};
    told->algorithm = *algorithm;
    told->workspace_bytes = kv8_blas_stub()->workspace_of_row * static_cast<Layout*>(d)->columns;
    return code;
}
#endif

int NAME(Matmul)(void* handle, void* descriptor, const float* alpha, uint64_t a, void* a_layout, uint64_t b,
                 void* b_layout, const float* beta, uint64_t c, void* c_layout, uint64_t d, void* d_layout,
                 const Algorithm* algorithm, uint64_t workspace, size_t workspace_bytes, uint64_t stream) {
    if (const int code = entered("Matmul")) return code;
    for (const void* object : {handle, descriptor, a_layout, b_layout, c_layout, d_layout})
        if (!is_alive(object)) return kInvalidValue;
    const Descriptor& of = *static_cast<Descriptor*>(descriptor);
    const Layout &al = *static_cast<Layout*>(a_layout), &bl = *static_cast<Layout*>(b_layout),
                 &dl = *static_cast<Layout*>(d_layout);
    if (const int code = check(of, al, bl, *static_cast<Layout*>(c_layout), dl)) return code;
    if (algorithm->magic != kMagic || !algorithm->fit) return kNotSupported;
    if (*alpha != 1.0f || *beta != 0.0f || c != d) return kInvalidValue;
    const uint64_t outputs = dl.rows, rows = dl.columns, inputs = bl.rows;
    for (uint64_t t = 0; t < rows; t++)
        for (uint64_t o = 0; o < outputs; o++) {
            double sum = of.epilogue == kEpilogueBias ? element(of.bias_type, of.bias, o) : 0;
            for (uint64_t i = 0; i < inputs; i++) {
                const uint64_t in_a = of.trans_a == kTranspose ? i + o * static_cast<uint64_t>(al.leading)
                                                               : o + i * static_cast<uint64_t>(al.leading);
                sum += element(al.type, a, in_a) * element(bl.type, b, i + t * static_cast<uint64_t>(bl.leading));
            }
            set_element(dl.type, d, o + t * static_cast<uint64_t>(dl.leading), sum);
        }
    kv8_blas_stub()->products.push_back({algorithm->number, rows, outputs, inputs, workspace, workspace_bytes, stream});
    return 0;
}

}  // extern "C"
#pragma GCC visibility pop
