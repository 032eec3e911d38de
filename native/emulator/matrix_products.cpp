#include "emulator/matrix_products.h"

#include <cstring>
#include <vector>

#include "dispatch/dtypes.h"
#include "emulator/conversions.h"
#include "emulator/device_memory.h"

namespace kv8::emulator {
namespace {

constexpr size_t kParts = 8;  // of a sum, side by side, which the compiler makes a vector of

void read(kv8_dtype dtype, uint64_t address, float* to, size_t count) {
    const void* from = reinterpret_cast<const void*>(address);
    if (dtype == KV8_F32) {
        std::memcpy(to, from, count * sizeof(float));
        return;
    }
    const auto* halves = static_cast<const uint16_t*>(from);
    for (size_t i = 0; i < count; i++) to[i] = dtype == KV8_F16 ? widen_f16(halves[i]) : widen_bf16(halves[i]);
}

void write(kv8_dtype dtype, uint64_t address, float x) {
    void* to = reinterpret_cast<void*>(address);
    if (dtype == KV8_F32)
        *static_cast<float*>(to) = x;
    else
        *static_cast<uint16_t*>(to) = dtype == KV8_F16 ? narrow_f16(x) : narrow_bf16(x);
}

float product_of(const float* a, const float* b, size_t count) {
    float parts[kParts] = {};
    size_t i = 0;
    for (; i + kParts <= count; i += kParts)
        for (size_t j = 0; j < kParts; j++) parts[j] += a[i + j] * b[i + j];
    for (size_t j = 0; i < count; i++, j++) parts[j] += a[i] * b[i];
    float sum = 0.0f;
    for (const float part : parts) sum += part;
    return sum;
}

void check_rows(const char* what, const kv8_rows& rows, uint64_t tokens, uint64_t width) {
    for (uint64_t t = 0; t < tokens; t++)
        device_memory.check_range(what, rows.data.ptr + t * static_cast<uint64_t>(rows.token_stride),
                                  width * static_cast<uint64_t>(element_bytes(rows.dtype)));
}

}  // namespace

void multiply(const kv8_matmul_args& args) {
    const size_t tokens = static_cast<size_t>(args.tokens), outputs = static_cast<size_t>(args.outputs),
                 inputs = static_cast<size_t>(args.inputs);
    const uint64_t weight_row = inputs * static_cast<uint64_t>(element_bytes(args.x.dtype)),
                   y_size = static_cast<uint64_t>(element_bytes(args.y.dtype));
    const bool has_bias = args.bias.ptr != 0;
    check_rows("the rows of a product", args.x, tokens, inputs);
    check_rows("the result of a product", args.y, tokens, outputs);
    device_memory.check_range("the weights of a product", args.weights.ptr, outputs * weight_row);
    if (has_bias) device_memory.check_range("the bias of a product", args.bias.ptr, outputs * y_size);

    std::vector<float> x(tokens * inputs), weights(inputs);
    for (size_t t = 0; t < tokens; t++)
        read(args.x.dtype, args.x.data.ptr + t * static_cast<uint64_t>(args.x.token_stride), &x[t * inputs], inputs);
    for (size_t o = 0; o < outputs; o++) {
        read(args.x.dtype, args.weights.ptr + o * weight_row, weights.data(), inputs);
        float bias = 0.0f;
        if (has_bias) read(args.y.dtype, args.bias.ptr + o * y_size, &bias, 1);
        for (size_t t = 0; t < tokens; t++)
            write(args.y.dtype, args.y.data.ptr + t * static_cast<uint64_t>(args.y.token_stride) + o * y_size,
                  product_of(&x[t * inputs], weights.data(), inputs) + bias);
    }
}

}  // namespace kv8::emulator
