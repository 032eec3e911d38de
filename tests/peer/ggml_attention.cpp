// One layer's attention, kv8's beside ggml's: ggml_attention [threads] [rounds] [contexts, comma-separated] [queries]
//
// Round by round in turn, each over layers enough to meet cold memory; a line says the median of the rounds, and the median of
// the rounds' ratios to ggml's F16 with heads outermost, which is its faster layout. Head size 128, 8 KV heads, 1 and 4 query heads
// for each, q in float32, causal attention: ggml gets a mask where there is more than one query.
#include <ggml-cpu.h>
#include <ggml.h>
#include <kv8/kv8.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <sstream>
#include <string>
#include <vector>

namespace {

constexpr int kHeadSize = 128, kKvHeads = 8, kBlockSize = 16;

[[noreturn]] void fail(const char* what) {
    std::fprintf(stderr, "ggml_attention: %s\n", what);
    std::exit(1);
}

void check(kv8_status status) {
    if (status != KV8_OK) fail(kv8_last_error());
}

struct Shape {
    int group, context, queries, threads;
    int q_heads() const { return group * kKvHeads; }
};

std::vector<float> normal_values(size_t count) {
    std::mt19937 random(8);
    std::normal_distribution<float> normal;
    std::vector<float> values(count);
    for (float& x : values) x = normal(random);
    return values;
}

// Something that is timed: one call goes through all layers.
struct Contender {
    std::string name;
    int layers;
    double bytes;  // of K and V of a layer
    std::function<void()> run;
    std::function<void()> rest;  // afterwards, so that no thread of its own takes time from the others
    std::vector<double> seconds;  // of a layer, by round
};

// A pass over so much memory finds nothing of the pass before in the last level of the processor's caches.
size_t cold_bytes() {
    static const long last_level = sysconf(_SC_LEVEL3_CACHE_SIZE);
    return std::max(size_t(256) << 20, size_t(std::max(0L, last_level)) * 4);
}

int layers_for(size_t bytes) { return int(std::max<size_t>(1, (cold_bytes() + bytes - 1) / bytes)); }

// The last query sees every key, each one before it one less; null for one query, which needs none.
ggml_tensor* causal_mask(ggml_context* context, const Shape& shape) {
    if (shape.queries == 1) return nullptr;
    ggml_tensor* const mask = ggml_new_tensor_2d(context, GGML_TYPE_F16, shape.context, shape.queries);
    const ggml_fp16_t seen = ggml_fp32_to_fp16(0), unseen = ggml_fp32_to_fp16(-INFINITY);
    ggml_fp16_t* row = static_cast<ggml_fp16_t*>(mask->data);
    for (int query = 0; query < shape.queries; query++, row += shape.context) {
        const int keys = std::max(0, shape.context - shape.queries + query + 1);
        std::fill(row, row + keys, seen);
        std::fill(row + keys, row + shape.context, unseen);
    }
    return mask;
}

Contender ggml_contender(const Shape& shape, ggml_type type, bool head_major) {
    const size_t row = ggml_row_size(type, kHeadSize);
    const size_t side = row * size_t(kKvHeads) * size_t(shape.context);
    const int layers = layers_for(2 * side);
    ggml_init_params params = {};
    params.mem_size = size_t(layers) * (2 * side + size_t(shape.q_heads()) * kHeadSize * size_t(shape.queries) * 4) +
                      (size_t(64) << 20) + size_t(shape.q_heads()) * kHeadSize * size_t(shape.queries) * 4 +
                      size_t(shape.context) * size_t(shape.queries) * sizeof(ggml_fp16_t);
    ggml_context* const context = ggml_init(params);
    if (context == nullptr) fail("ggml has no memory");
    ggml_tensor* const q = ggml_new_tensor_3d(context, GGML_TYPE_F32, kHeadSize, shape.queries, shape.q_heads());
    const std::vector<float> values = normal_values(size_t(ggml_nelements(q)));
    std::copy(values.begin(), values.end(), static_cast<float*>(q->data));
    const std::vector<float> cached = normal_values(size_t(kHeadSize) * kKvHeads * size_t(shape.context));
    std::vector<uint8_t> stored(side);
    ggml_quantize_chunk(type, cached.data(), stored.data(), 0, int64_t(kKvHeads) * shape.context, kHeadSize, nullptr);
    ggml_tensor* const mask = causal_mask(context, shape);
    ggml_cgraph* const graph = ggml_new_graph_custom(context, size_t(layers) * 4 + 64, false);
    for (int layer = 0; layer < layers; layer++) {
        ggml_tensor* sides[2];
        for (ggml_tensor*& tensor : sides) {
            ggml_tensor* const whole = head_major
                                           ? ggml_new_tensor_3d(context, type, kHeadSize, shape.context, kKvHeads)
                                           : ggml_new_tensor_3d(context, type, kHeadSize, kKvHeads, shape.context);
            std::copy(stored.begin(), stored.end(), static_cast<uint8_t*>(whole->data));
            tensor = head_major ? whole : ggml_permute(context, whole, 0, 2, 1, 3);
        }
        ggml_build_forward_expand(
            graph, ggml_flash_attn_ext(context, q, sides[0], sides[1], mask, 1 / std::sqrt(float(kHeadSize)), 0, 0));
    }
    ggml_threadpool_params pool_params = ggml_threadpool_params_default(shape.threads);
    ggml_threadpool* const pool = ggml_threadpool_new(&pool_params);
    ggml_cplan plan = ggml_graph_plan(graph, shape.threads, pool);
    auto work = std::make_shared<std::vector<uint8_t>>(plan.work_size);
    plan.work_data = work->data();
    // Kept until the process ends: there are few of them.
    return {std::string("ggml ") + ggml_type_name(type) + (head_major ? ", heads outermost" : ", tokens outermost"),
            layers,
            2.0 * double(side),
            [graph, plan, work]() mutable {
                if (ggml_graph_compute(graph, &plan) != GGML_STATUS_SUCCESS) fail("ggml's graph failed");
            },
            [pool] { ggml_threadpool_pause(pool); },  // else its threads spin for tens of milliseconds
            {}};
}

struct Kv8Step {
    kv8_device* device = nullptr;
    std::vector<kv8_cache_view> layers;
    std::vector<int32_t> table, starts, lengths;
    std::vector<uint8_t> q, out;
    std::vector<uint64_t> workspace;
    kv8_attention_args args = {};

    void run() {
        for (kv8_cache_view& view : layers) {
            args.view = &view;
            check(kv8_attention(device, nullptr, &args));
        }
    }
};

Contender kv8_contender(const Shape& shape, kv8_dtype dtype, kv8_dtype q_dtype) {
    auto step = std::make_shared<Kv8Step>();
    kv8_backend* backend = nullptr;
    check(kv8_backend_cpu(&backend));
    kv8_device_options options = {};
    options.struct_size = sizeof(options);
    options.threads = shape.threads;
    check(kv8_device_open(backend, &options, &step->device));
    const auto cast = [&](const std::vector<float>& from, void* to, kv8_dtype type, uint64_t bytes) {
        kv8_cast_args c = {};
        c.struct_size = sizeof(c);
        c.scale = type >= KV8_E4M3FN ? 0.01f : 1.0f;
        c.src = {reinterpret_cast<uint64_t>(from.data()), from.size() * 4};
        c.dst = {reinterpret_cast<uint64_t>(to), bytes};
        c.dst_dtype = type;
        c.count = int64_t(from.size());
        check(kv8_cast(step->device, nullptr, &c));
    };
    const int element = dtype >= KV8_E4M3FN ? 1 : 2, blocks = (shape.context + kBlockSize - 1) / kBlockSize;
    const int64_t side = int64_t(kKvHeads) * kBlockSize * kHeadSize * element;
    const uint64_t bytes = uint64_t(2 * side) * uint64_t(blocks);
    const int layers = layers_for(bytes);
    const std::vector<float> cached = normal_values(bytes / uint64_t(element));
    static const float scale = 0.01f;
    for (int layer = 0; layer < layers; layer++) {
        kv8_cache_view view = {};
        view.struct_size = sizeof(view);
        view.num_blocks = blocks;
        view.block_size = kBlockSize;
        view.kv_heads = kKvHeads;
        view.head_size = kHeadSize;
        view.block_stride = 2 * side;
        view.memory.bytes = bytes;
        check(kv8_alloc(step->device, bytes, KV8_MEMORY_DEVICE, &view.memory.ptr));
        cast(cached, reinterpret_cast<void*>(view.memory.ptr), dtype, bytes);
        view.k.dtype = dtype;
        view.k.head_stride = int64_t(kBlockSize) * kHeadSize * element;
        view.k.slot_stride = kHeadSize * element;
        view.k.row_scale_offset = -1;
        if (element == 1) view.k.chan = {reinterpret_cast<uint64_t>(&scale), 4};
        view.v = view.k;
        view.v.offset = side;
        step->layers.push_back(view);
    }
    step->table.resize(size_t(blocks));
    std::iota(step->table.begin(), step->table.end(), 0);
    std::shuffle(step->table.begin(), step->table.end(), std::mt19937(1));
    step->starts = {0, shape.queries};
    step->lengths = {shape.context};
    const std::vector<float> q = normal_values(size_t(shape.queries) * size_t(shape.q_heads()) * kHeadSize);
    const int q_bytes = q_dtype == KV8_F32 ? 4 : 2;
    step->q.resize(q.size() * size_t(q_bytes));
    step->out.resize(step->q.size());
    cast(q, step->q.data(), q_dtype, step->q.size());

    kv8_attention_plan_args plan = {};
    plan.struct_size = sizeof(plan);
    plan.num_seqs = 1;
    plan.q_heads = shape.q_heads();
    plan.kv_heads = kKvHeads;
    plan.head_size = kHeadSize;
    plan.query_start_loc = {reinterpret_cast<uint64_t>(step->starts.data()), 8};
    plan.seq_lens = {reinterpret_cast<uint64_t>(step->lengths.data()), 4};
    check(kv8_attention_plan(step->device, nullptr, &plan));
    step->workspace.resize(plan.workspace_bytes / 8 + 16);
    uint64_t at = (reinterpret_cast<uint64_t>(step->workspace.data()) + 63) / 64 * 64;
    plan.workspace = {at, plan.workspace_bytes};
    check(kv8_attention_plan(step->device, nullptr, &plan));

    kv8_attention_args& a = step->args;
    a.struct_size = sizeof(a);
    a.softmax_scale = 1 / std::sqrt(float(kHeadSize));
    a.plan = plan.workspace;
    a.block_table = {reinterpret_cast<uint64_t>(step->table.data()), step->table.size() * 4};
    a.block_table_stride = blocks;
    a.q.data = {reinterpret_cast<uint64_t>(step->q.data()), step->q.size()};
    a.q.token_stride = int64_t(shape.q_heads()) * kHeadSize * q_bytes;
    a.q.head_stride = kHeadSize * q_bytes;
    a.q.dtype = q_dtype;
    a.out = a.q;
    a.out.data.ptr = reinterpret_cast<uint64_t>(step->out.data());
    return {std::string("kv8 ") + (dtype == KV8_E4M3FN ? "e4m3fn" : "bf16"),
            layers,
            double(bytes),
            [step] { step->run(); },
            [] {},
            {}};
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

void measure(const Shape& shape, int rounds) {
    std::vector<Contender> all;
    all.push_back(ggml_contender(shape, GGML_TYPE_F16, true));
    all.push_back(ggml_contender(shape, GGML_TYPE_F16, false));
    all.push_back(ggml_contender(shape, GGML_TYPE_Q8_0, true));
    all.push_back(ggml_contender(shape, GGML_TYPE_Q8_0, false));
    all.push_back(kv8_contender(shape, KV8_BF16, KV8_F32));
    all.push_back(kv8_contender(shape, KV8_E4M3FN, KV8_F32));
    for (Contender& c : all) {
        c.run();
        c.rest();
    }
    for (int round = 0; round < rounds; round++)
        for (Contender& c : all) {
            const auto start = std::chrono::steady_clock::now();
            c.run();
            const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
            c.seconds.push_back(taken.count() / c.layers);
            c.rest();
        }
    for (const Contender& c : all) {
        std::vector<double> ratios;
        for (int round = 0; round < rounds; round++)
            ratios.push_back(c.seconds[size_t(round)] / all[0].seconds[size_t(round)]);
        std::printf(
            "%d/%d heads, %6d keys, %4d queries, %d threads  %-28s %10.1f us  %6.2f GB/s  time / ggml f16 %.3f\n",
            shape.q_heads(), kKvHeads, shape.context, shape.queries, shape.threads, c.name.c_str(),
            median(c.seconds) * 1e6, c.bytes / median(c.seconds) * 1e-9, median(ratios));
    }
    std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
    const int threads = argc > 1 ? std::atoi(argv[1]) : 2, rounds = argc > 2 ? std::atoi(argv[2]) : 9;
    const int queries = argc > 4 ? std::atoi(argv[4]) : 1;
    std::stringstream contexts(argc > 3 ? argv[3] : "512,4096,16384");
    ggml_cpu_init();
    std::printf("%ld MiB of last-level cache, layers of %zu MiB in all\n", sysconf(_SC_LEVEL3_CACHE_SIZE) >> 20,
                cold_bytes() >> 20);
    for (std::string context; std::getline(contexts, context, ',');)
        for (int group : {1, 4}) measure({group, std::atoi(context.c_str()), queries, threads}, rounds);
    return 0;
}
