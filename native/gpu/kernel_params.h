// What the host launches kernels with: their names, their one argument, how large a block is, and how many blocks there
// is work for. Read by both sides, so it holds neither's code. Views are embedded by value: the pointers to views in
// the arguments are the host's.
//
// Every kernel but sampling's strides over its work, so that any number of blocks computes the same; grid() says how
// many are worth launching.
#pragma once

#include "fp8/fp8.h"
#include "gpu/faults.h"
#include "kv8/kv8.h"

namespace kv8::gpu {

constexpr int kChunk = 8;            // consecutive elements of a row that a thread handles as one
constexpr int kMostRowThreads = 32;  // a warp, or half a wave of 64: rows are shared by threads that can shuffle

constexpr KV8_HOST_DEVICE int64_t chunks_of(int64_t width) { return (width + kChunk - 1) / kChunk; }

// Threads that share a row: one per chunk, rounded up to a power of two.
constexpr KV8_HOST_DEVICE int row_threads(int64_t width) {
    int threads = 1;
    while (threads < kMostRowThreads && threads < chunks_of(width)) threads *= 2;
    return threads;
}

// ---- kernels/cast.cpp

struct CastParams {
    static constexpr const char *kModule = "cast", *kKernel = "kv8_cast_kernel";
    static constexpr int kThreads = 256, kResident = 4, kSharedBytes = 0;
    static constexpr int kAtOnce = 4;  // chunks that a thread has under way
    kv8_cast_args args;
};

// `out` holds zeros, or what the maximum is taken with: the host fills it with zeros first unless args.accumulate is
// set.
struct AmaxParams {
    static constexpr const char *kModule = "cast", *kKernel = "kv8_amax_kernel";
    static constexpr int kThreads = 256, kResident = 4, kSharedBytes = 0;
    kv8_amax_args args;
};

// ---- kernels/cache_rows.cpp

struct WriteParams {
    static constexpr const char *kModule = "cache_rows", *kKernel = "kv8_write_kernel";
    static constexpr int kThreads = 128, kResident = 5, kSharedBytes = 0;
    static constexpr int kTokens = 4, kTurningTokens = 2;  // whose rows a thread has under way
    kv8_write_args args;
    kv8_cache_view view;
    Fault* fault;
};

struct GatherParams {
    static constexpr const char *kModule = "cache_rows", *kKernel = "kv8_gather_kernel";
    static constexpr int kThreads = 128, kResident = 8, kSharedBytes = 0;
    kv8_gather_args args;
    kv8_cache_view view;
    Fault* fault;
};

struct MoveBlocksParams {
    static constexpr const char *kModule = "cache_rows", *kKernel = "kv8_move_blocks_kernel";
    static constexpr int kThreads = 128, kResident = 6, kSharedBytes = 64;
    kv8_move_blocks_args args;
    kv8_cache_view src;
    kv8_cache_view dst;
    Fault* fault;
};

// ---- kernels/merge.cpp

struct MergeStatesParams {
    static constexpr const char *kModule = "merge", *kKernel = "kv8_merge_states_kernel";
    static constexpr int kThreads = 128, kResident = 8, kSharedBytes = 0;
    kv8_merge_states_args args;
};

// ---- kernels/engine.cpp

struct RmsNormParams {
    static constexpr const char *kModule = "engine", *kKernel = "kv8_rms_norm_kernel";
    static constexpr int kThreads = 256, kResident = 4, kSharedBytes = 64;
    static constexpr int kWidestOfGroup = 1024;  // wider rows have a block each
    kv8_rms_norm_args args;
};

struct RopeParams {
    static constexpr const char *kModule = "engine", *kKernel = "kv8_rope_kernel";
    static constexpr int kThreads = 128, kResident = 8, kSharedBytes = 0;
    kv8_rope_args args;
    Fault* fault;
};

struct GateMulParams {
    static constexpr const char *kModule = "engine", *kKernel = "kv8_gate_mul_kernel";
    static constexpr int kThreads = 256, kResident = 4, kSharedBytes = 0;
    kv8_gate_mul_args args;
};

struct SoftcapParams {
    static constexpr const char *kModule = "engine", *kKernel = "kv8_softcap_kernel";
    static constexpr int kThreads = 256, kResident = 4, kSharedBytes = 0;
    kv8_softcap_args args;
};

struct EmbeddingParams {
    static constexpr const char *kModule = "engine", *kKernel = "kv8_embedding_kernel";
    static constexpr int kThreads = 256, kResident = 4, kSharedBytes = 0;
    kv8_embedding_args args;
    Fault* fault;
};

// ---- kernels/sampling.cpp

struct SampleParams {
    static constexpr const char *kModule = "sampling", *kKernel = "kv8_sample_kernel";
    static constexpr int kThreads = 256, kResident = 1;
    static constexpr int kBins = 16;
    // A sum by bin and thread, by bin and part of the threads, and by bin; and what one thread tells the others.
    static constexpr int kSharedBytes = 8 * (kBins * (kThreads + kBins + 1) + 1);
    kv8_sample_args args;
    Fault* fault;
};

// ---- how many blocks have work

inline int64_t blocks_for_rows(int64_t rows, int64_t width, int threads) {
    const int64_t rows_in_block = threads / row_threads(width);
    return (rows + rows_in_block - 1) / rows_in_block;
}
inline int64_t blocks_for_chunks(int64_t chunks, int threads) { return (chunks + threads - 1) / threads; }

inline int64_t blocks_of(const CastParams& p) {
    return blocks_for_chunks(chunks_of(p.args.count), p.kThreads * p.kAtOnce);
}
inline int64_t blocks_of(const AmaxParams& p) {
    return blocks_for_rows(int64_t{p.args.tokens} * p.args.heads, p.args.width, p.kThreads);
}
// K and V are separate blocks' work.
inline int64_t blocks_of(const WriteParams& p) {
    return 2 * blocks_for_rows(int64_t{p.args.tokens} * p.view.kv_heads, p.view.head_size, p.kThreads);
}
inline int64_t blocks_of(const GatherParams& p) {
    return 2 * blocks_for_rows(int64_t{p.args.tokens} * p.view.kv_heads, p.view.head_size, p.kThreads);
}
inline int64_t blocks_of(const MoveBlocksParams& p) {
    return 2 * int64_t{p.args.count} *
           blocks_for_rows(int64_t{p.src.kv_heads} * p.src.block_size, p.src.head_size, p.kThreads);
}
inline int64_t blocks_of(const MergeStatesParams& p) {
    return blocks_for_rows(int64_t{p.args.tokens} * p.args.heads, p.args.width, p.kThreads);
}
inline int64_t blocks_of(const RmsNormParams& p) {
    const int64_t rows = int64_t{p.args.tokens} * p.args.heads;
    return p.args.width > p.kWidestOfGroup ? rows : blocks_for_rows(rows, p.args.width, p.kThreads);
}
inline int64_t blocks_of(const RopeParams& p) {
    return blocks_for_chunks(int64_t{p.args.tokens} * p.args.heads * chunks_of(p.args.rope.rotary_size / 2),
                             p.kThreads);
}
inline int64_t blocks_of(const GateMulParams& p) {
    return blocks_for_chunks(p.args.tokens * chunks_of(p.args.width), p.kThreads);
}
inline int64_t blocks_of(const SoftcapParams& p) {
    return blocks_for_chunks(p.args.tokens * chunks_of(p.args.width), p.kThreads);
}
inline int64_t blocks_of(const EmbeddingParams& p) {
    return blocks_for_chunks(p.args.tokens * chunks_of(p.args.width), p.kThreads);
}

// Twice what the device holds at once, so that an early end is filled; and one block where there is nothing to do.
template <class Params>
int grid(const Params& params, int multiprocessors) {
    const int64_t wanted = blocks_of(params), most = int64_t{multiprocessors} * Params::kResident * 2;
    return static_cast<int>(wanted < 1 ? 1 : wanted < most ? wanted : most);
}

// A block for each row: it is long enough to be worth its start.
inline int grid(const SampleParams& params, int) { return params.args.tokens; }

}  // namespace kv8::gpu
