/*
 * kv8: FP8 paged KV cache kernels. This header is the only door between native code and the rest of the world.
 *
 * Conventions
 *  - Plain C. Every function returns a kv8_status and never throws, aborts or keeps global state (the list of loaded
 *    plug-ins excepted). kv8_last_error() holds the calling thread's message: what was given, what is allowed.
 *  - Memory is named by kv8_span: an address valid on the device (on the CPU: any host address) and the bytes that may
 *    be touched there. Shapes are checked against the bytes before anything is read or written.
 *  - Spans, offsets and strides are multiples of their element's size, those of a cache's rows of 16 bytes. Rows that a
 *    call writes do not share bytes.
 *  - What a call is checked by (slots, ids, positions, block tables, pairs, plans and their batches, channel scales,
 *    sampling, logits that are sampled) shares no bytes with what it writes. Other arguments may where their struct says
 *    so; elsewhere results are unspecified. What counts is the bytes of the shape, not all of a span.
 *  - Offsets and strides are 64-bit and in bytes. Shapes are written [outer]...[inner], the last index contiguous.
 *  - Argument structs begin with struct_size (sizeof, set by the caller), so that later versions can grow them.
 *  - Calls on one device are ordered by their stream; a null stream is the device's default one. On the CPU a call has
 *    completed when it returns, on a GPU when its stream has been synchronized. One device may be called from several
 *    threads: calls on the CPU take turns.
 *  - Illegal shapes, strides and extents are refused before anything is done. So are, on the CPU, illegal values in
 *    memory (slots, ids, positions, block tables, scales, sampling). A GPU's kernels look at a value when they come to
 *    it and skip what it stands for: nothing outside the spans is touched, the rest of the call is done, and the next
 *    kv8_stream_sync reports the first such value.
 *  - On a GPU kernels neither allocate nor wait: every call of one but kv8_attention_plan, and kv8_matmul's first of a
 *    shape, can be captured into a graph, by kv8_graph_begin or by the caller's own use of the vendor's runtime. A GPU that
 *    has failed for good is lost: all later calls give KV8_DEVICE_ERROR with its driver's words.
 *
 * Numerics (bit-exact on every backend)
 *  - quantize:    code = encode(f32(x) / scale), one IEEE float32 division, one rounding to nearest even, saturating;
 *                 NaN gives the canonical NaN (0x7F, FNUZ 0x80).
 *  - dequantize:  decode(code) * scale in float32.
 *  - a K or V element:  x[t,h,d] = decode(code) * (row[t,h] * chan[h,d]); the product of a row and a chan scale is kept
 *                       within [FLT_MIN, FLT_MAX].
 */
#ifndef KV8_H
#define KV8_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KV8_API __attribute__((visibility("default")))
#define KV8_ABI_VERSION 1

typedef int32_t kv8_status;
enum {
    KV8_OK = 0,
    KV8_INVALID_ARGUMENT = 1, /* the caller's mistake; nothing was changed (but see illegal values on a GPU) */
    KV8_BUFFER_TOO_SMALL = 2, /* a span's bytes do not hold the shape that the call names */
    KV8_OUT_OF_MEMORY = 3,
    KV8_UNSUPPORTED = 4,     /* a valid request that this backend or device cannot serve */
    KV8_LIBRARY_MISSING = 5, /* a plug-in or the driver library behind it cannot be opened */
    KV8_ABI_MISMATCH = 6,
    KV8_DEVICE_ERROR = 7,
    KV8_INTERNAL_ERROR = 8
};

typedef int32_t kv8_dtype;
enum {
    KV8_F32 = 0,
    KV8_F16 = 1,
    KV8_BF16 = 2,
    KV8_E4M3FN = 3,   /* OCP: max 448, NaN 0x7F and 0xFF, no infinity */
    KV8_E5M2 = 4,     /* OCP: max 57344, infinities, NaN 0x7D..0x7F and 0xFD..0xFF */
    KV8_E4M3FNUZ = 5, /* AMD gfx942: max 240, bias 8, NaN 0x80 only, no -0 */
    KV8_E5M2FNUZ = 6  /* AMD gfx942: max 57344, bias 16, NaN 0x80 only, no -0 */
};

typedef struct kv8_backend kv8_backend;
typedef struct kv8_device kv8_device;
typedef struct kv8_stream kv8_stream;
typedef struct kv8_graph kv8_graph;

/* Memory: `bytes` bytes at `ptr`. An absent optional argument is {0, 0}. */
typedef struct kv8_span {
    uint64_t ptr;
    uint64_t bytes;
} kv8_span;

/* Rows of a mixed batch: [tokens][heads][width], the width contiguous and given by the call. */
typedef struct kv8_rows {
    kv8_span data;
    int64_t token_stride; /* bytes */
    int64_t head_stride;  /* bytes */
    kv8_dtype dtype;      /* KV8_F32, KV8_F16 or KV8_BF16 */
    int32_t reserved;
} kv8_rows;

/* ---- library --------------------------------------------------------------------------------------------------- */

KV8_API uint32_t kv8_abi_version(void);

/* The calling thread's last failure, never null; valid until that thread's next failing call. */
KV8_API const char* kv8_last_error(void);

/* ---- backends and devices -------------------------------------------------------------------------------------- */

/* The CPU backend, built into this library. */
KV8_API kv8_status kv8_backend_cpu(kv8_backend** out);

/* Opens a plug-in (kv8_plugin.h) by path; opening one path twice gives the same backend. Backends are never unloaded. */
KV8_API kv8_status kv8_backend_load(const char* path, kv8_backend** out);

KV8_API const char* kv8_backend_name(const kv8_backend* backend);
KV8_API kv8_status kv8_device_count(kv8_backend* backend, int32_t* count);

typedef struct kv8_device_options {
    uint32_t struct_size;
    int32_t ordinal; /* which of kv8_device_count */
    /* CPU: worker threads including the caller; 0 = one per core that the process may use, by its affinity and by cpu.max of
       its cgroups */
    int32_t threads;
    int32_t reserved;
    /* CPU: "scalar", "avx2", "avx512", "avx512_bf16", "neon", "neon_bf16"; null = KV8_ISA from the environment, else the best */
    const char* isa;
    /* GPU: the path of cuBLASLt or hipBLASLt; null = KV8_BLAS_LIBRARY from the environment, else where the loader finds it */
    const char* blas_library;
} kv8_device_options;

KV8_API kv8_status kv8_device_open(kv8_backend* backend, const kv8_device_options* options, kv8_device** out);

/*
 * Frees what the device still owns. The handle, its streams and its memory are invalid afterwards. It waits for their calls, but
 * on a GPU of which another handle is captured into a graph (kv8_graph_begin): there none may be under way.
 */
KV8_API kv8_status kv8_device_close(kv8_device* device);

typedef struct kv8_device_info {
    uint32_t struct_size;
    int32_t ordinal;
    char name[128];           /* the CPU's or GPU's model name */
    char arch[64];            /* the kernels in use: an instruction set, sm_90, gfx942 */
    uint64_t memory_bytes;    /* of the device; CPU: of the machine, or less where a cgroup's limit is */
    uint64_t memory_free;     /* bytes available now, within the same */
    uint64_t allocated_bytes; /* by kv8_alloc on this handle and not freed yet */
    uint32_t dtypes;          /* bit (1 << kv8_dtype): may be stored */
    uint32_t native_fp8;      /* bit (1 << kv8_dtype): converted by hardware */
    int32_t threads;          /* CPU: worker threads; else 0 */
    int32_t host_accessible;  /* 1 when device memory can be read and written by the host */
    char driver[64];          /* of the device, with its version; "" on the CPU */
    int32_t captures_graphs;  /* 1 when kv8_graph_begin works */
    int32_t reserved;
} kv8_device_info;

KV8_API kv8_status kv8_device_get_info(kv8_device* device, kv8_device_info* info);

KV8_API kv8_status kv8_stream_create(kv8_device* device, kv8_stream** out);
/* A stream made by the caller's own runtime (CUstream, hipStream_t), on the same device; it stays the caller's. */
KV8_API kv8_status kv8_stream_wrap(kv8_device* device, uint64_t native, kv8_stream** out);
/* Waits for the stream's calls, and reports the first illegal value that a kernel met since the last report. */
KV8_API kv8_status kv8_stream_sync(kv8_device* device, kv8_stream* stream);
/* Waits until no other call is being made with the handle, as kv8_graph_destroy does; later ones are refused. */
KV8_API kv8_status kv8_stream_destroy(kv8_device* device, kv8_stream* stream);

/* ---- memory ---------------------------------------------------------------------------------------------------- */

enum { KV8_MEMORY_DEVICE = 0, KV8_MEMORY_HOST = 1 /* pinned, readable by host and device */ };

/* At least 64-byte aligned, contents undefined; 2 MiB aligned from 2 MiB up. */
KV8_API kv8_status kv8_alloc(kv8_device* device, uint64_t bytes, int32_t kind, uint64_t* out);
/*
 * Waits for calls under way that may use the memory: on a GPU for all of its streams, which breaks a capture that the caller's
 * own runtime has begun. While kv8_graph_begin's is on, by any thread and handle of the GPU, it does not wait, and the
 * memory goes back later: with the capture's end, or this handle's next kv8_alloc or kv8_free.
 */
KV8_API kv8_status kv8_free(kv8_device* device, uint64_t ptr);
/*
 * Copies src.bytes bytes, between host and device as the addresses say; spans may not overlap. In the stream's order;
 * a copy from or to host memory that is not pinned has completed when it returns, and one to it reports what
 * kv8_stream_sync would.
 */
KV8_API kv8_status kv8_copy(kv8_device* device, kv8_stream* stream, kv8_span dst, kv8_span src);
KV8_API kv8_status kv8_fill(kv8_device* device, kv8_stream* stream, kv8_span dst, uint8_t value);

/* ---- graphs ----------------------------------------------------------------------------------------------------- */

/*
 * Many calls launched as one: between kv8_graph_begin and kv8_graph_end calls on the stream are recorded and not done;
 * kv8_graph_launch does them all, in order, as often as it is called. A GPU's driver then starts the kernels by itself, and
 * the host's time for each is saved.
 *
 * A graph holds each call's arguments as they were: addresses, strides, shapes, numbers. What lies in memory is read by each
 * launch anew: ids, slots, positions, block tables, scales, weights, and the plan of kv8_attention, which
 * kv8_attention_plan makes anew in the same workspace before a launch, outside of the capture, for a batch of at most as many
 * sequences and queries as the captured one, none longer than its block table: a plan for more is reported as an illegal
 * value is, and its attention is not done. The memory must stay where it is until the graph's last launch has completed.
 *
 * Each call is checked when it is captured; one that is refused is not in the graph, and the capture goes on. Not captured,
 * and refused: kv8_attention_plan, kv8_stream_sync, copies from or to pageable memory, a shape's first kv8_matmul. The thread
 * that captures is refused the first three on other streams too, and kv8_alloc, kv8_free, kv8_stream_create and
 * kv8_device_open. Kernels launched by a graph report illegal values in memory as ever. The CPU has no graphs
 * (KV8_UNSUPPORTED): its calls have nothing to launch.
 */

/*
 * Begins to capture; the calling thread ends it. Other threads may use other streams meanwhile. The stream is one of
 * kv8_stream_create, or the caller's own, but neither the device's default one, which no driver captures, nor one that waits
 * for that one, as streams do that were not created with CU_STREAM_NON_BLOCKING or hipStreamNonBlocking.
 */
KV8_API kv8_status kv8_graph_begin(kv8_device* device, kv8_stream* stream);
/*
 * Ends the capture. Where it fails, because a call that went by kv8 has broken the capture or the driver cannot make a graph
 * of it, there is no graph; the stream is as before kv8_graph_begin in any case.
 */
KV8_API kv8_status kv8_graph_end(kv8_device* device, kv8_stream* stream, kv8_graph** out);
/* Puts the graph's calls on any stream of the device that is not being captured. A graph's launches follow one another. */
KV8_API kv8_status kv8_graph_launch(kv8_device* device, kv8_stream* stream, kv8_graph* graph);
/* Waits for its launches, or is done later, as kv8_free. kv8_device_close destroys all. */
KV8_API kv8_status kv8_graph_destroy(kv8_device* device, kv8_graph* graph);

/* ---- casts ----------------------------------------------------------------------------------------------------- */

/*
 * dst[i] = convert(src[i]), i < count. To FP8: encode(x / scale); from FP8: decode(code) * scale in float32, then
 * rounded to the destination; otherwise the scale must be 1. float32 to float16 and bfloat16 round to nearest even. A NaN
 * becomes the destination's canonical NaN. An FP8 code becomes another FP8 format's through its exact value, scale 1.
 */
typedef struct kv8_cast_args {
    uint32_t struct_size;
    float scale; /* finite, positive, normal, and so its reciprocal */
    kv8_span src;
    kv8_span dst;
    kv8_dtype src_dtype;
    kv8_dtype dst_dtype;
    int64_t count;
} kv8_cast_args;

KV8_API kv8_status kv8_cast(kv8_device* device, kv8_stream* stream, const kv8_cast_args* args);

enum { KV8_AMAX_TENSOR = 0, KV8_AMAX_HEAD = 1, KV8_AMAX_CHANNEL = 2, KV8_AMAX_ROW = 3 };

/*
 * out = max |x| over the rest: tensor [1], head [heads], channel [heads][width], row [tokens][heads], float32.
 * NaN is skipped; no element gives 0; accumulate != 0 takes the maximum with what out holds.
 */
typedef struct kv8_amax_args {
    uint32_t struct_size;
    int32_t granularity;
    kv8_rows x;
    kv8_span out;
    int32_t tokens;
    int32_t heads;
    int32_t width;
    int32_t accumulate;
} kv8_amax_args;

KV8_API kv8_status kv8_amax(kv8_device* device, kv8_stream* stream, const kv8_amax_args* args);

/* ---- the cache -------------------------------------------------------------------------------------------------- */

/*
 * K or V of one layer inside each block. Offsets count from the block's first byte. Rows of head_size elements are
 * contiguous and 16-byte aligned.
 */
typedef struct kv8_side {
    kv8_dtype dtype;
    int32_t reserved;
    int64_t offset;                /* of row (head 0, slot 0) */
    int64_t head_stride;           /* between heads */
    int64_t slot_stride;           /* between slots (tokens) of a block */
    int64_t row_scale_offset;      /* of float32 row[head 0][slot 0], or -1: no row scales */
    int64_t row_scale_head_stride; /* between heads; slots are 4 bytes apart */
    kv8_span chan;                 /* float32 chan[h * chan_head_stride + d * chan_dim_stride], or {0,0}: 1.0 */
    int64_t chan_head_stride;      /* elements; 0 shares one scale over heads */
    int64_t chan_dim_stride;       /* elements; 0 shares one scale over channels */
} kv8_side;

/* One layer of a paged cache: block b lies at memory.ptr + b * block_stride. Scales need an FP8 dtype. */
typedef struct kv8_cache_view {
    uint32_t struct_size;
    int32_t num_blocks;
    int32_t block_size; /* tokens in a block */
    int32_t kv_heads;
    int32_t head_size; /* 64, 80, 96, 112, 128, 192 or 256 */
    int32_t reserved;
    int64_t block_stride;
    kv8_span memory;
    kv8_side k;
    kv8_side v;
} kv8_cache_view;

/* Rotary embedding. rotary_size 0: none. The first rotary_size elements of a head are rotated. */
#define KV8_MAX_ROTARY_SIZE 256 /* the largest head size */
enum { KV8_ROPE_HALF = 0 /* pairs (i, i + rotary_size/2) */, KV8_ROPE_INTERLEAVED = 1 /* pairs (2i, 2i + 1) */ };

/*
 * x' = fl(fl(x*cos) - fl(y*sin)), y' = fl(fl(y*cos) + fl(x*sin)) in float32, products and sums rounded one by one.
 * table: float32 [max_positions][rotary_size], rotary_size/2 cosines then as many sines. positions: int32 [tokens].
 */
typedef struct kv8_rope_table {
    kv8_span table;
    kv8_span positions;
    int32_t rotary_size; /* even, at most the row's width and KV8_MAX_ROTARY_SIZE; 0 = no rotation */
    int32_t style;
} kv8_rope_table;

/*
 * Rotates K (if asked), quantizes K and V, and scatters token t to slot slots[t] = block * block_size + index.
 * A slot of -1 skips the token; any other slot outside the cache is illegal. The slots of a call are distinct; where
 * they are not, what such a slot holds afterwards is unspecified. With row scales: row = max_d |x_d / chan_d| / maximum
 * over finite ones (1.0 if that is zero; at least FLT_MIN), stored beside the rows, and
 * code = encode(x / fl(row * chan)).
 * The maximum in a cache is 448 (E4M3FN), 57344 (E5M2), 224 (E4M3FNUZ), 28672 (E5M2FNUZ); quotients beyond it become
 * it. Thus FNUZ with doubled scales has OCP's codes but for NaN and -0. An element saturates when its quotient is infinite
 * or beyond the maximum by more than half of the last step before it: it loses more than rounding takes from any other.
 */
typedef struct kv8_write_args {
    uint32_t struct_size;
    int32_t tokens;
    const kv8_cache_view* view;
    kv8_rows k; /* [tokens][kv_heads][head_size] */
    kv8_rows v;
    kv8_span slots; /* int64 [tokens] */
    kv8_rope_table rope;
    kv8_span saturated; /* uint64 [2]: to them are added K's and V's elements that saturate; {0,0}: nobody asks */
} kv8_write_args;

KV8_API kv8_status kv8_write(kv8_device* device, kv8_stream* stream, const kv8_write_args* args);

/* The inverse of kv8_write without rotation: dequantizes the rows at slots into k and v; slot -1 gives zeros. */
typedef struct kv8_gather_args {
    uint32_t struct_size;
    int32_t tokens;
    const kv8_cache_view* view;
    kv8_rows k; /* out, [tokens][kv_heads][head_size] */
    kv8_rows v;
    kv8_span slots; /* int64 [tokens] */
} kv8_gather_args;

KV8_API kv8_status kv8_gather(kv8_device* device, kv8_stream* stream, const kv8_gather_args* args);

/*
 * Copies whole blocks of one layer: pairs int32 [count][2] of (source, destination). Views agree in block size, heads
 * and head size. Equal dtypes and scales copy bytes; anything else goes through float32 values and the destination's
 * scales. Destinations are distinct, and none of them is a source of the same call in the same memory; a GPU does not
 * check that, and leaves such blocks with unspecified contents.
 */
typedef struct kv8_move_blocks_args {
    uint32_t struct_size;
    int32_t count;
    const kv8_cache_view* src;
    const kv8_cache_view* dst;
    kv8_span pairs;
} kv8_move_blocks_args;

KV8_API kv8_status kv8_move_blocks(kv8_device* device, kv8_stream* stream, const kv8_move_blocks_args* args);

/* ---- attention -------------------------------------------------------------------------------------------------- */

/*
 * A step's schedule, made once and used by every layer. query_start_loc: int32 [num_seqs + 1], ascending from 0;
 * seq_lens: int32 [num_seqs], keys in the cache including the query tokens' own (of fewer keys than queries, the first
 * queries see none), 2^31 - 8192 at most; both in host memory. All queries times q_heads / kv_heads are 2^26 at most. With
 * workspace {0,0} only workspace_bytes is computed. kv8_attention reads both arrays from the workspace, which must stay
 * untouched until the last layer's attention has completed. A GPU knows a plan by its workspace's address: a copy elsewhere
 * is none. Its kernels check that a plan begins there, of the call's heads and head size and for no more sequences, queries
 * and keys than the call's spans hold; if not, they compute nothing and report it. What follows they take as it was written:
 * whatever has been written over it may have them read and write anywhere.
 */
typedef struct kv8_attention_plan_args {
    uint32_t struct_size;
    uint32_t flags; /* KV8_PLAN_* */
    int32_t num_seqs;
    int32_t q_heads; /* a multiple of kv_heads */
    int32_t kv_heads;
    int32_t head_size;
    int32_t window; /* the smallest window of the step's layers may be given, 0 = none; a hint, results are the same */
    int32_t reserved;
    kv8_span query_start_loc;
    kv8_span seq_lens;
    kv8_span workspace;
    uint64_t workspace_bytes; /* out: needed */
} kv8_attention_plan_args;

enum { KV8_PLAN_BATCH_INVARIANT = 1 /* GPU: split by a sequence's own length only; the CPU always does */ };

KV8_API kv8_status kv8_attention_plan(kv8_device* device, kv8_stream* stream, kv8_attention_plan_args* args);

/*
 * Paged attention of a mixed batch: decode, multi-token and chunked prefill together. Query r of a sequence with n
 * queries and L keys stands at position L - n + r and sees keys j <= position, with window W > 0 also j > position - W.
 *   s_j = softmax_scale * q.k_j;  softcap > 0: s_j = softcap * tanh(s_j / softcap);  ALiBi: s_j += slope * (j - position)
 *   out = sum_j exp(s_j) v_j / Z,  Z = sum_j exp(s_j) [+ exp(sink)],  lse = ln Z
 * A row without keys gives zeros and lse = -inf (or the sink). Table entries, slots and blocks that no visible key
 * occupies are not looked at. A visible block that is none of the cache's is illegal; on a GPU its rows read as zeros.
 * float32 q is computed in float32 throughout; 16-bit q may use 16-bit products.
 */
typedef struct kv8_attention_args {
    uint32_t struct_size;
    int32_t window;      /* 0 = all keys */
    float softmax_scale; /* finite */
    float softcap;       /* 2^-126 to 2^126; 0 = none */
    const kv8_cache_view* view;
    kv8_span plan;              /* the workspace that kv8_attention_plan filled */
    kv8_span block_table;       /* int32 [num_seqs][block_table_stride] */
    int64_t block_table_stride; /* entries */
    kv8_rows q;                 /* [total_q][q_heads][head_size] */
    kv8_rows out;               /* like q */
    kv8_span lse;               /* float32 [total_q][q_heads], or {0,0} */
    kv8_span sinks;             /* float32 [q_heads], or {0,0} */
    kv8_span alibi_slopes;      /* float32 [q_heads], or {0,0} */
} kv8_attention_args;

KV8_API kv8_status kv8_attention(kv8_device* device, kv8_stream* stream, const kv8_attention_args* args);

/*
 * Joins two attention results over disjoint keys: out = (e^lse_a a + e^lse_b b) / (e^lse_a + e^lse_b), lse = ln of the
 * denominator. A side with lse = -inf takes no part. out may be a or b, and lse may be lse_a or lse_b. (FlashInfer,
 * "merge_state"; sinks must be counted in one side only.)
 */
typedef struct kv8_merge_states_args {
    uint32_t struct_size;
    int32_t tokens;
    int32_t heads;
    int32_t width;
    kv8_rows a;
    kv8_rows b;
    kv8_rows out;
    kv8_span lse_a; /* float32 [tokens][heads] */
    kv8_span lse_b;
    kv8_span lse; /* out; {0,0}: not wanted */
} kv8_merge_states_args;

KV8_API kv8_status kv8_merge_states(kv8_device* device, kv8_stream* stream, const kv8_merge_states_args* args);

/* ---- what an engine needs beside ---------------------------------------------------------------------------------- */

/*
 * y[t][o] = sum over i of x[t][i] * weights[o][i] (+ bias[o]): a layer's weights as checkpoints store them. Products and
 * sums in float32, float32 inputs with all their bits, one rounding to y. On one device y[t] has the same bits whatever the
 * other rows hold and, but on AMD's GPUs, however many there are: hipBLASLt may divide a sum by their number. A GPU's products
 * are its vendor's: cuBLASLt or hipBLASLt is opened by the device's first call (KV8_LIBRARY_MISSING where there is none),
 * 32 MiB of its memory are taken then, and a shape's first call chooses its algorithm; later ones neither allocate nor wait.
 * One workspace serves all streams: calls on different streams of one device may not overlap.
 *
 * The CPU's are for few rows, which reading the weights bounds; for many a GEMM library is faster. There x and y are KV8_F32
 * and weights of any type, and a result is the sum, one after the other, of partial sums of sum_length inputs each (0: of
 * all), which add one product after the other, fused where the processor does that: the order of GEMM libraries, of which
 * each has a length of its own.
 */
typedef struct kv8_matmul_args {
    uint32_t struct_size;
    int32_t tokens;
    int32_t outputs;
    int32_t inputs;
    kv8_rows x;       /* [tokens][heads = 1][inputs] */
    kv8_rows y;       /* [tokens][heads = 1][outputs], of x's dtype or KV8_F32; shares no bytes with what is read */
    kv8_span weights; /* [outputs][inputs] */
    kv8_span bias;    /* [outputs] of y's dtype, or {0,0} */
    kv8_dtype weights_dtype; /* x's; with KV8_F32 on a CPU also KV8_F16 or KV8_BF16 */
    int32_t sum_length;      /* on a CPU; 0 on others */
} kv8_matmul_args;

KV8_API kv8_status kv8_matmul(kv8_device* device, kv8_stream* stream, const kv8_matmul_args* args);

/*
 * x += residual if given (the sum is stored in residual, and taken as rounded there), then
 * out = x / sqrt(mean(x^2) + eps) * weight; in float32.
 */
typedef struct kv8_rms_norm_args {
    uint32_t struct_size;
    float eps;
    int32_t tokens;
    int32_t heads; /* rows per token: 1 for a hidden state, q_heads for a norm by head */
    int32_t width;
    kv8_dtype weight_dtype;
    kv8_rows x;
    kv8_rows residual; /* data {0,0}: none */
    kv8_span weight;   /* [width] */
    kv8_rows out;      /* may be x */
} kv8_rms_norm_args;

KV8_API kv8_status kv8_rms_norm(kv8_device* device, kv8_stream* stream, const kv8_rms_norm_args* args);

/* Rotates x [tokens][heads][width] in place; arithmetic as in kv8_write. */
typedef struct kv8_rope_args {
    uint32_t struct_size;
    int32_t tokens;
    int32_t heads;
    int32_t width;
    kv8_rows x;
    kv8_rope_table rope;
} kv8_rope_args;

KV8_API kv8_status kv8_rope(kv8_device* device, kv8_stream* stream, const kv8_rope_args* args);

enum {
    KV8_SILU = 0,     /* x sigmoid(x) */
    KV8_GELU_TANH = 1 /* x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
};

/* out = activation(gate) * up in float32, [tokens][heads = 1][width]; out may be gate or up. */
typedef struct kv8_gate_mul_args {
    uint32_t struct_size;
    int32_t tokens;
    int32_t width;
    int32_t activation;
    kv8_rows gate;
    kv8_rows up;
    kv8_rows out;
} kv8_gate_mul_args;

KV8_API kv8_status kv8_gate_mul(kv8_device* device, kv8_stream* stream, const kv8_gate_mul_args* args);

/* x = cap * tanh(x / cap) in float32 and in place, [tokens][heads = 1][width]: for logits. */
typedef struct kv8_softcap_args {
    uint32_t struct_size;
    int32_t tokens;
    int32_t width;
    float cap; /* 2^-126 to 2^126 */
    kv8_rows x;
} kv8_softcap_args;

KV8_API kv8_status kv8_softcap(kv8_device* device, kv8_stream* stream, const kv8_softcap_args* args);

/* out[t] = table[ids[t]] * scale in float32: table [vocabulary][width] of table_dtype, ids int32 [tokens]. */
typedef struct kv8_embedding_args {
    uint32_t struct_size;
    int32_t tokens;
    int32_t width;
    int32_t vocabulary;
    kv8_span table;
    kv8_span ids;
    kv8_rows out;
    kv8_dtype table_dtype;
    float scale; /* 1 for none; finite, positive, normal, and so its reciprocal */
} kv8_embedding_args;

KV8_API kv8_status kv8_embedding(kv8_device* device, kv8_stream* stream, const kv8_embedding_args* args);

/* How one row is sampled; on the device, [tokens] of these. */
typedef struct kv8_sampling {
    float temperature; /* 0: the largest logit, the lowest id among equals */
    float top_p;       /* in (0, 1] */
    int32_t top_k;     /* 0: all */
    float uniform;     /* the caller's random number in [0, 1) */
} kv8_sampling;

/*
 * ids[t] drawn from softmax(logits[t] / temperature): tokens sorted by probability (the lower id first among equals),
 * the first top_k kept, of those the shortest prefix whose probability reaches top_p of theirs, of that the first whose
 * cumulative probability exceeds uniform; probabilities and sums in float64. A logit of -infinity bars its id; NaN,
 * +infinity and a row without a finite logit are illegal; on a GPU their ids[t] is -1.
 */
typedef struct kv8_sample_args {
    uint32_t struct_size;
    int32_t tokens;
    int32_t vocabulary;
    int32_t reserved;
    kv8_rows logits;   /* [tokens][1][vocabulary] */
    kv8_span sampling; /* kv8_sampling [tokens] */
    kv8_span ids;      /* out, int32 [tokens] */
} kv8_sample_args;

KV8_API kv8_status kv8_sample(kv8_device* device, kv8_stream* stream, const kv8_sample_args* args);

#ifdef __cplusplus
}
#endif

#endif
