// The CPU backend: looks at the values that only it can see, then splits each call over the device's threads in parts that
// are large enough to be worth handing out. Every part's result is independent of how a call was split.
#include "cpu/backend.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <vector>

#include "cpu/host.h"
#include "cpu/isa.h"
#include "cpu/memory.h"
#include "cpu/stream_copy.h"
#include "cpu/thread_pool.h"
#include "cpu/value_checks.h"
#include "dispatch/dtypes.h"
#include "dispatch/error.h"

struct kv8_impl_device {
    kv8_impl_device(const kv8::cpu::Kernels& chosen, int threads) : kernels(chosen), pool(threads) {}

    const kv8::cpu::Kernels& kernels;
    kv8::cpu::ThreadPool pool;
    kv8::cpu::Memory memory;
    std::mutex turn;  // held by a call that works on memory: guards what follows
    kv8::cpu::WorkerScratch scratch;
    std::vector<uint8_t> block_marks;
};

// A call has completed when it returns, so a stream has nothing to keep.
struct kv8_impl_stream {};

namespace kv8::cpu {
namespace {

using Device = kv8_impl_device;

constexpr int kMostThreads = 1024;
constexpr int64_t kPartBytes =
    32 << 10;  // touched by one part: some microseconds, well above the cost of handing it out

kv8_fail fail;
kv8_impl_stream only_stream;

// Calls part(begin, end, worker) for parts of [0, units) that touch about part_bytes each.
template <class Part>
void split(Device& device, int64_t units, int64_t bytes_per_unit, const Part& part, int64_t part_bytes = kPartBytes) {
    const int64_t grain = std::max<int64_t>(part_bytes / std::max<int64_t>(bytes_per_unit, 1), 1);
    device.pool.run((units + grain - 1) / grain,
                    [&](int64_t item, int worker) { part(item * grain, std::min(units, (item + 1) * grain), worker); });
}

// ---- devices, streams, memory

kv8_status device_count(int32_t* count) {
    *count = 1;
    return KV8_OK;
}

kv8_status device_open(const kv8_device_options* options, kv8_impl_device** out) {
    return guarded(fail, [&] {
        if (options->threads < 0 || options->threads > kMostThreads)
            refuse(KV8_INVALID_ARGUMENT,
                   "options.threads is %d; it must be 1 to %d, or 0 for one per available core (%d here).",
                   options->threads, kMostThreads, available_cores());
        const int threads = options->threads > 0 ? options->threads : std::min(available_cores(), kMostThreads);
        *out = new Device(choose_kernels(options->isa), threads);
        return KV8_OK;
    });
}

kv8_status device_close(kv8_impl_device* device) {
    delete device;
    return KV8_OK;
}

kv8_status device_info(kv8_impl_device* device, kv8_device_info* info) {
    return guarded(fail, [&] {
        const HostMemory memory = host_memory();
        kv8_device_info told{};
        told.struct_size = sizeof(told);
        std::snprintf(told.name, sizeof(told.name), "%s", processor_name().c_str());
        std::snprintf(told.arch, sizeof(told.arch), "%s", device->kernels.isa);
        told.memory_bytes = memory.total;
        told.memory_free = memory.available;
        told.allocated_bytes = device->memory.allocated_bytes();
        for (int dtype = KV8_F32; dtype <= KV8_E5M2FNUZ; dtype++) told.dtypes |= 1u << dtype;
        told.threads = device->pool.threads();
        told.host_accessible = 1;
        *info = told;
        return KV8_OK;
    });
}

kv8_status stream_create(kv8_impl_device*, kv8_impl_stream** out) {
    *out = &only_stream;
    return KV8_OK;
}

kv8_status stream_wrap(kv8_impl_device* device, uint64_t native, kv8_impl_stream** out) {
    return guarded(fail, [&] {
        if (native != 0)
            refuse(KV8_INVALID_ARGUMENT,
                   "native is 0x%llx; the CPU has no streams of its own, so only 0 can be wrapped.",
                   static_cast<unsigned long long>(native));
        return stream_create(device, out);
    });
}

kv8_status stream_sync(kv8_impl_device*, kv8_impl_stream*) { return KV8_OK; }
kv8_status stream_destroy(kv8_impl_device*, kv8_impl_stream*) { return KV8_OK; }

kv8_status alloc(kv8_impl_device* device, uint64_t bytes, int32_t, uint64_t* out) {
    return guarded(fail, [&] {
        *out = device->memory.allocate(bytes);
        return KV8_OK;
    });
}

// Frees when no call is under way that may use the memory.
kv8_status release(kv8_impl_device* device, uint64_t ptr) {
    return guarded(fail, [&] {
        std::lock_guard<std::mutex> lock(device->turn);
        device->memory.release(ptr);
        return KV8_OK;
    });
}

char* bytes_of(const kv8_span& span) { return reinterpret_cast<char*>(span.ptr); }

kv8_status copy(kv8_impl_device* device, kv8_impl_stream*, kv8_span dst, kv8_span src) {
    std::lock_guard<std::mutex> lock(device->turn);
    const bool streamed = static_cast<int64_t>(src.bytes) >= kStreamedBytes;
    split(*device, static_cast<int64_t>(src.bytes), 1, [&](int64_t begin, int64_t end, int) {
        if (!streamed) {
            std::memcpy(bytes_of(dst) + begin, bytes_of(src) + begin, static_cast<size_t>(end - begin));
            return;
        }
        stream_copy(bytes_of(dst) + begin, bytes_of(src) + begin, end - begin);
        finish_stream();
    });
    return KV8_OK;
}

kv8_status fill(kv8_impl_device* device, kv8_impl_stream*, kv8_span dst, uint8_t value) {
    std::lock_guard<std::mutex> lock(device->turn);
    split(*device, static_cast<int64_t>(dst.bytes), 1, [&](int64_t begin, int64_t end, int) {
        std::memset(bytes_of(dst) + begin, value, static_cast<size_t>(end - begin));
    });
    return KV8_OK;
}

// ---- numerics

void cast(Device& device, const kv8_cast_args& args) {
    split(device, args.count, 4, [&](int64_t begin, int64_t end, int) { device.kernels.cast->cast(args, begin, end); });
}

void amax(Device& device, const kv8_amax_args& args) {
    const int64_t token_bytes = static_cast<int64_t>(args.heads) * args.width * element_bytes(args.x.dtype);
    int64_t results = 1;
    if (args.granularity == KV8_AMAX_HEAD) results = args.heads;
    if (args.granularity == KV8_AMAX_CHANNEL) results = static_cast<int64_t>(args.heads) * args.width;
    if (args.granularity == KV8_AMAX_ROW) results = static_cast<int64_t>(args.tokens) * args.heads;
    float* out = reinterpret_cast<float*>(args.out.ptr);
    if (!args.accumulate) std::fill(out, out + results, 0.0f);
    if (args.granularity == KV8_AMAX_ROW) {
        split(device, args.tokens, token_bytes,
              [&](int64_t begin, int64_t end, int) { device.kernels.cast->amax(args, begin, end, out); });
        return;
    }
    // Each worker takes the maximum of what it was given, then they are joined; a maximum does not depend on the order.
    device.scratch.reserve(device.pool.threads(), static_cast<uint64_t>(results) * sizeof(float));
    for (int worker = 0; worker < device.pool.threads(); worker++)
        std::fill_n(static_cast<float*>(device.scratch.of(worker)), results, 0.0f);
    split(device, args.tokens, token_bytes, [&](int64_t begin, int64_t end, int worker) {
        device.kernels.cast->amax(args, begin, end, static_cast<float*>(device.scratch.of(worker)));
    });
    for (int worker = 0; worker < device.pool.threads(); worker++) {
        const float* part = static_cast<const float*>(device.scratch.of(worker));
        for (int64_t i = 0; i < results; i++) out[i] = std::max(out[i], part[i]);
    }
}

// ---- cache

int64_t row_pair_bytes(const kv8_cache_view& view, const kv8_rows& rows) {
    return 2 * static_cast<int64_t>(view.head_size) * (1 + element_bytes(rows.dtype));
}

void write(Device& device, const kv8_write_args& args) {
    // The layer's scales lie in no cache either: the first slots come while their check waits.
    device.kernels.cache_rows->ask_to_write(args, 0);
    check_channel_scales("view", *args.view);
    check_slots(args.slots, args.tokens, *args.view);
    check_positions(args.rope, args.tokens);
    split(device, static_cast<int64_t>(args.tokens) * args.view->kv_heads, row_pair_bytes(*args.view, args.k),
          [&](int64_t begin, int64_t end, int) { device.kernels.cache_rows->write(args, begin, end); });
}

void gather(Device& device, const kv8_gather_args& args) {
    check_channel_scales("view", *args.view);
    check_slots(args.slots, args.tokens, *args.view);
    split(device, static_cast<int64_t>(args.tokens) * args.view->kv_heads, row_pair_bytes(*args.view, args.k),
          [&](int64_t begin, int64_t end, int) { device.kernels.cache_rows->gather(args, begin, end); });
}

void move_blocks(Device& device, const kv8_move_blocks_args& args) {
    check_channel_scales("src", *args.src);
    check_channel_scales("dst", *args.dst);
    check_pairs(args, device.block_marks);
    const int64_t block_bytes = 4ll * args.src->block_size * args.src->kv_heads * args.src->head_size;
    split(device, args.count, block_bytes,
          [&](int64_t begin, int64_t end, int) { device.kernels.cache_rows->move_blocks(args, begin, end); });
}

// ---- attention

void attention_plan(Device& device, kv8_attention_plan_args& args) { plan_attention(args, device.pool.threads()); }

void attention(Device& device, const kv8_attention_args& args) {
    const AttentionKernels& kernels = *device.kernels.attention;
    const AttentionPlan& plan = checked_attention_plan(args);
    check_channel_scales("view", *args.view);
    device.scratch.reserve(device.pool.threads(), kernels.scratch_bytes(plan));
    device.pool.run(plan.items,
                    [&](int64_t item, int worker) { kernels.item(args, plan, item, device.scratch.of(worker)); });
    device.pool.run(plan.combines, [&](int64_t tile, int) { kernels.combine(args, plan, tile, tile + 1); });
}

void merge_states(Device& device, const kv8_merge_states_args& args) {
    split(device, static_cast<int64_t>(args.tokens) * args.heads, 12ll * args.width,
          [&](int64_t begin, int64_t end, int) { device.kernels.attention->merge_states(args, begin, end); });
}

// ---- engine

void matmul(Device& device, const kv8_matmul_args& args) {
    if (args.x.dtype != KV8_F32)
        refuse(KV8_UNSUPPORTED,
               "x.dtype is %d; on the CPU x and y of a product are KV8_F32 (0), and weights of any type.",
               args.x.dtype);
    const EngineKernels& kernels = *device.kernels.engine;
    const float* x = reinterpret_cast<const float*>(args.x.data.ptr);
    if (args.tokens > 1) {
        device.scratch.reserve(1, 4ull * args.tokens * args.inputs);
        float* side_by_side = static_cast<float*>(device.scratch.of(0));
        split(device, args.inputs, 8ll * args.tokens,
              [&](int64_t begin, int64_t end, int) { kernels.lay_side_by_side(args, begin, end, side_by_side); });
        x = side_by_side;
    }
    const int64_t blocks = (args.outputs + kernels.block_outputs - 1ll) / kernels.block_outputs;
    const int64_t block_bytes =
        static_cast<int64_t>(kernels.block_outputs) * args.inputs * element_bytes(args.weights_dtype);
    // Few parts, because each waits for its first block, which none before has asked for; enough to be shared out evenly.
    const int64_t part_bytes = std::max(blocks * block_bytes / (8 * device.pool.threads()), kPartBytes);
    split(
        device, blocks, block_bytes, [&](int64_t begin, int64_t end, int) { kernels.matmul(args, x, begin, end); },
        part_bytes);
}

void rms_norm(Device& device, const kv8_rms_norm_args& args) {
    split(device, static_cast<int64_t>(args.tokens) * args.heads, 12ll * args.width,
          [&](int64_t begin, int64_t end, int) { device.kernels.engine->rms_norm(args, begin, end); });
}

void rope(Device& device, const kv8_rope_args& args) {
    check_positions(args.rope, args.tokens);
    split(device, static_cast<int64_t>(args.tokens) * args.heads, 12ll * args.rope.rotary_size,
          [&](int64_t begin, int64_t end, int) { device.kernels.engine->rope(args, begin, end); });
}

void gate_mul(Device& device, const kv8_gate_mul_args& args) {
    split(device, args.tokens, 32ll * args.width,
          [&](int64_t begin, int64_t end, int) { device.kernels.engine->gate_mul(args, begin, end); });
}

void softcap(Device& device, const kv8_softcap_args& args) {
    split(device, args.tokens, 32ll * args.width,
          [&](int64_t begin, int64_t end, int) { device.kernels.engine->softcap(args, begin, end); });
}

void embedding(Device& device, const kv8_embedding_args& args) {
    check_ids(args);
    split(device, args.tokens, 8ll * args.width,
          [&](int64_t begin, int64_t end, int) { device.kernels.engine->embedding(args, begin, end); });
}

void sample(Device& device, const kv8_sample_args& args) {
    const EngineKernels& kernels = *device.kernels.engine;
    check_sampling(args);
    std::atomic<int64_t> illegal{INT64_MAX};
    split(device, args.tokens, 4ll * args.vocabulary, [&](int64_t begin, int64_t end, int) {
        const int64_t found = kernels.first_illegal_logits(args, begin, end);
        if (found < 0) return;
        int64_t first = illegal.load();
        while (found < first && !illegal.compare_exchange_weak(first, found)) {
        }
    });
    if (illegal != INT64_MAX)
        refuse(KV8_INVALID_ARGUMENT,
               "logits of token %lld hold NaN or +infinity, or nothing finite; -infinity bars an id, all others must "
               "be finite.",
               static_cast<long long>(illegal.load()));
    device.scratch.reserve(device.pool.threads(), kernels.sample_scratch_bytes(args));
    split(device, args.tokens, 64ll * args.vocabulary,
          [&](int64_t begin, int64_t end, int worker) { kernels.sample(args, begin, end, device.scratch.of(worker)); });
}

// ---- graphs

kv8_status refuse_graph() {
    return fail(
        KV8_UNSUPPORTED,
        "The CPU backend has no graphs: its calls are done when they return, and nothing is launched. Make the calls "
        "themselves.");
}

kv8_status graph_begin(kv8_impl_device*, kv8_impl_stream*) { return refuse_graph(); }
kv8_status graph_end(kv8_impl_device*, kv8_impl_stream*, kv8_impl_graph**) { return refuse_graph(); }
kv8_status graph_launch(kv8_impl_device*, kv8_impl_stream*, kv8_impl_graph*) { return refuse_graph(); }
kv8_status graph_destroy(kv8_impl_device*, kv8_impl_graph*) { return refuse_graph(); }

// A kernel call as the table has it: calls on a device take turns.
template <class Args, void (*Call)(Device&, Args&)>
kv8_status in_turn(kv8_impl_device* device, kv8_impl_stream*, Args* args) {
    return guarded(fail, [&] {
        std::lock_guard<std::mutex> lock(device->turn);
        Call(*device, *args);
        return KV8_OK;
    });
}

}  // namespace

const kv8_backend_table* backend_table(kv8_fail report) {
    fail = report;
    static const kv8_backend_table table{
        KV8_ABI_VERSION,
        sizeof(kv8_backend_table),
        "cpu",
        device_count,
        device_open,
        device_close,
        device_info,
        stream_create,
        stream_wrap,
        stream_sync,
        stream_destroy,
        alloc,
        release,
        copy,
        fill,
        graph_begin,
        graph_end,
        graph_launch,
        graph_destroy,
        in_turn<const kv8_cast_args, cast>,
        in_turn<const kv8_amax_args, amax>,
        in_turn<const kv8_write_args, write>,
        in_turn<const kv8_gather_args, gather>,
        in_turn<const kv8_move_blocks_args, move_blocks>,
        in_turn<kv8_attention_plan_args, attention_plan>,
        in_turn<const kv8_attention_args, attention>,
        in_turn<const kv8_merge_states_args, merge_states>,
        in_turn<const kv8_matmul_args, matmul>,
        in_turn<const kv8_rms_norm_args, rms_norm>,
        in_turn<const kv8_rope_args, rope>,
        in_turn<const kv8_gate_mul_args, gate_mul>,
        in_turn<const kv8_softcap_args, softcap>,
        in_turn<const kv8_embedding_args, embedding>,
        in_turn<const kv8_sample_args, sample>,
    };
    return &table;
}

}  // namespace kv8::cpu
