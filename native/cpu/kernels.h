// The kernels of the CPU backend, one table per instruction set. Each function does the part [begin, end) of a call whose
// arguments have been checked; the backend splits the call over the device's threads.
#pragma once

#include "cpu/attention_plan.h"
#include "kv8/kv8.h"

namespace kv8::cpu {

struct CastKernels {
    void (*cast)(const kv8_cast_args&, int64_t begin, int64_t end);  // elements
    // The maximum of tokens [begin, end) joined into out, whose shape is that of args.granularity; row results are
    // written to their own places.
    void (*amax)(const kv8_amax_args&, int64_t begin, int64_t end, float* out);
};

struct CacheRowKernels {
    // Asks for the memory of the part from a pair on that is used first; slots need not have been checked. To be called before a
    // call's first part is written; later ones ask for theirs.
    void (*ask_to_write)(const kv8_write_args&, int64_t begin);
    void (*write)(const kv8_write_args&, int64_t begin, int64_t end);              // (token, head) pairs
    void (*gather)(const kv8_gather_args&, int64_t begin, int64_t end);            // (token, head) pairs
    void (*move_blocks)(const kv8_move_blocks_args&, int64_t begin, int64_t end);  // entries of pairs
};

struct AttentionKernels {
    uint64_t (*scratch_bytes)(const AttentionPlan&);  // private to one worker
    void (*item)(const kv8_attention_args&, const AttentionPlan&, int64_t item, void* scratch);
    void (*combine)(const kv8_attention_args&, const AttentionPlan&, int64_t begin, int64_t end);
    void (*merge_states)(const kv8_merge_states_args&, int64_t begin, int64_t end);  // (token, head) pairs
};

struct EngineKernels {
    // [inputs][tokens] of x, in groups of tokens, as matmul wants it; x itself where there is one token.
    void (*lay_side_by_side)(const kv8_matmul_args&, int64_t begin, int64_t end, float* x);  // inputs
    int block_outputs;                                                                       // of a block of matmul
    void (*matmul)(const kv8_matmul_args&, const float* x, int64_t begin, int64_t end);      // blocks, all tokens
    void (*rms_norm)(const kv8_rms_norm_args&, int64_t begin, int64_t end);                  // (token, head) pairs
    void (*rope)(const kv8_rope_args&, int64_t begin, int64_t end);                          // (token, head) pairs
    void (*gate_mul)(const kv8_gate_mul_args&, int64_t begin, int64_t end);                  // tokens
    void (*softcap)(const kv8_softcap_args&, int64_t begin, int64_t end);                    // tokens
    void (*embedding)(const kv8_embedding_args&, int64_t begin, int64_t end);                // tokens
    // The first of tokens [begin, end) whose logits hold NaN or +infinity or nothing finite, or -1.
    int64_t (*first_illegal_logits)(const kv8_sample_args&, int64_t begin, int64_t end);
    uint64_t (*sample_scratch_bytes)(const kv8_sample_args&);                           // private to one worker
    void (*sample)(const kv8_sample_args&, int64_t begin, int64_t end, void* scratch);  // tokens
};

struct Kernels {
    const char* isa;
    const CastKernels* cast;
    const CacheRowKernels* cache_rows;
    const AttentionKernels* attention;
    const EngineKernels* engine;
};

// Kernel files define these tables in their own namespace; isa.cpp gathers them.
#define KV8_DECLARE_KERNELS(isa)                     \
    namespace isa {                                  \
    extern const CastKernels cast_kernels;           \
    extern const CacheRowKernels cache_row_kernels;  \
    extern const AttentionKernels attention_kernels; \
    extern const EngineKernels engine_kernels;       \
    }
KV8_DECLARE_KERNELS(scalar)
KV8_DECLARE_KERNELS(avx2)
KV8_DECLARE_KERNELS(avx512)
KV8_DECLARE_KERNELS(neon)
#undef KV8_DECLARE_KERNELS

// avx512 and neon with products of pairs of bfloat16 in attention.
namespace avx512_bf16 {
extern const AttentionKernels attention_kernels;
}  // namespace avx512_bf16
namespace neon_bf16 {
extern const AttentionKernels attention_kernels;
}  // namespace neon_bf16

}  // namespace kv8::cpu
