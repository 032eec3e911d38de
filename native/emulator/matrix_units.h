// The matrix instructions: what each lane of a warp gives, who holds which element, and the product. Operands are 16-bit
// floats, two to a word; sums are float32.
#pragma once

#include "emulator/runtime.h"

namespace kv8::emulator {

// NVIDIA: ldmatrix. `row` is what the running lane read at its address, `loaded` what the instruction gives it.
struct MatrixRows {
    uint32_t row[4];
    uint32_t loaded[4];
};
extern const Meeting kLoadMatrix, kLoadMatrixTransposed;

// All others: c += a . b, in the lane's own registers.
struct MatrixProduct {
    float* c;
    const uint32_t* a;
    const uint32_t* b;
};
extern const Meeting kMmaF16, kMmaBf16;      // NVIDIA mma.m16n8k16: 4 floats, 4 words, 2 words
extern const Meeting kMfmaF16, kMfmaBf16;    // CDNA v_mfma_f32_16x16x16: 4 floats, 2 words, 2 words
extern const Meeting kWmma3F16, kWmma3Bf16;  // RDNA3 v_wmma_f32_16x16x16: 8 floats, 8 words, 8 words
extern const Meeting kWmma4F16, kWmma4Bf16;  // RDNA4 v_wmma_f32_16x16x16: 8 floats, 4 words, 4 words

}  // namespace kv8::emulator
