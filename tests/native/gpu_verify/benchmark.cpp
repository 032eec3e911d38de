#include "benchmark.h"

#include <cstdarg>
#include <cstdio>
#include <map>
#include <numeric>
#include <regex>

namespace kv8_verify {
namespace {

using kv8_test::bytes_of;
using kv8_test::span_of;

constexpr int kHeadSize = 128, kKvHeads = 8, kBlockSize = 16;
constexpr kv8_dtype kCacheDtypes[] = {KV8_BF16, KV8_E4M3FN};
constexpr uint64_t kBeyondCaches = uint64_t{512} << 20;  // bytes between two uses of one, so that no use finds it in L2

const char* dtype_name(kv8_dtype dtype) { return dtype == KV8_E4M3FN ? "fp8_e4m3" : "bfloat16"; }

std::string formatted(const char* format, ...) __attribute__((format(printf, 1, 2)));
std::string formatted(const char* format, ...) {
    char text[512];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof(text), format, values);
    va_end(values);
    return text;
}

std::string dtype_json(kv8_dtype dtype) { return formatted(", \"kv_cache_dtype\": \"%s\"", dtype_name(dtype)); }

// An array of the JSON object.
struct Section {
    const char* name;
    std::vector<std::string> lines;

    void add(const std::string& line) {
        lines.push_back("{" + line + "}");
        fprintf(stderr, "%s: %s\n", name, line.c_str());
    }
    std::string json() const {
        std::string text = std::string("\"") + name + "\": [";
        for (size_t i = 0; i < lines.size(); i++) text += (i == 0 ? "\n  " : ",\n  ") + lines[i];
        return text + "\n]";
    }
};

// A cache of many layers, the layers of a block together, in blocks spread over one pool of memory.
class LayeredCache {
  public:
    LayeredCache(const Buffer& pool, kv8_dtype dtype, int64_t blocks, int64_t layers) : layers_(layers) {
        const int64_t row = kHeadSize * bytes_of(dtype), side = kKvHeads * kBlockSize * row;
        layer_bytes_ = 2 * side;
        view_.struct_size = sizeof(view_);
        view_.num_blocks = int32_t(blocks);
        view_.block_size = kBlockSize;
        view_.kv_heads = kKvHeads;
        view_.head_size = kHeadSize;
        view_.block_stride = layers * layer_bytes_;
        view_.memory = pool.part(0, uint64_t(blocks * view_.block_stride));
        view_.k.dtype = dtype;
        view_.k.head_stride = kBlockSize * row;
        view_.k.slot_stride = row;
        view_.k.row_scale_offset = -1;
        view_.v = view_.k;
        view_.v.offset = side;
    }

    static uint64_t block_bytes(kv8_dtype dtype) {
        return uint64_t{2} * kKvHeads * kBlockSize * kHeadSize * uint64_t(bytes_of(dtype));
    }

    kv8_cache_view layer(int64_t call) const {
        const uint64_t offset = uint64_t(call % layers_ * layer_bytes_);
        kv8_cache_view view = view_;
        view.memory.ptr += offset;
        view.memory.bytes -= offset;
        return view;
    }

  private:
    int64_t layers_, layer_bytes_;
    kv8_cache_view view_ = {};
};

// As many layers as keep a layer out of the caches until it is used again, or as fit; 0: not even one.
int64_t layers_for(uint64_t layer_bytes, uint64_t pool_bytes) {
    return int64_t(std::min(pool_bytes / layer_bytes, std::min<uint64_t>(64, kBeyondCaches / layer_bytes + 1)));
}

kv8_rows packed_rows(const Buffer& buffer, int heads) {
    kv8_rows rows = {};
    rows.data = buffer.span();
    rows.head_stride = kHeadSize * 2;
    rows.token_stride = heads * rows.head_stride;
    rows.dtype = KV8_BF16;
    return rows;
}

struct Batch {
    int sequences, queries, context, q_heads;
    uint32_t flags = 0;
    int longest = 0;  // context of the first sequence, where it is longer than the others'

    int64_t tokens() const { return int64_t{sequences} * queries; }
    int64_t keys() const { return int64_t{sequences} * context + (longest > 0 ? longest - context : 0); }
    int64_t entries() const { return blocks_of(std::max(context, longest)); }
    int64_t blocks() const {
        return sequences * blocks_of(context) + (longest > 0 ? blocks_of(longest) - blocks_of(context) : 0);
    }
    std::string json() const {
        return formatted(
            "\"batch\": %d, \"queries\": %d, \"context\": %d, %s\"q_heads\": %d, \"kv_heads\": %d, "
            "\"head_size\": %d, \"batch_invariant\": %s",
            sequences, queries, context, longest > 0 ? formatted("\"longest\": %d, ", longest).c_str() : "", q_heads,
            kKvHeads, kHeadSize, flags & KV8_PLAN_BATCH_INVARIANT ? "true" : "false");
    }

    static int64_t blocks_of(int keys) { return (keys + kBlockSize - 1) / kBlockSize; }
};

class Benchmark {
  public:
    Benchmark(const TestDevice& device, const BenchmarkOptions& options)
        : device_(device),
          tiny_(options.tiny),
          only_(options.only),
          clock_(options.tiny ? Clock{0, 1} : Clock{}),
          pool_(device, pool_bytes(device, options)) {}

    std::string run() {
        copy();
        for (kv8_dtype dtype : kCacheDtypes) {
            pool_.fill_with_numbers(dtype);
            all_decode(dtype);
            all_prefill(dtype);
            for (int tokens : tiny_ ? std::vector<int>{3} : std::vector<int>{1, 8, 32, 256, 2048, 16384})
                write(dtype, tokens);
        }
        casts();
        products();
        return formatted("\"copy_gbps\": %.1f", copy_gbps_) + ",\n" + decode_.json() + ",\n" + other_decode_.json() +
               ",\n" + prefill_.json() + ",\n" + write_.json() + ",\n" + cast_.json() + ",\n" + matmul_.json() + ",\n" +
               left_out_.json();
    }

  private:
    static uint64_t pool_bytes(const TestDevice& device, const BenchmarkOptions& options) {
        if (options.tiny) return uint64_t{8} << 20;
        return std::min(options.most_gib << 30, uint64_t(double(device.info().memory_free) * 0.85) >> 21 << 21);
    }

    bool wanted(const Section& section, const std::string& line) const {
        return std::regex_search(std::string(section.name) + ": " + line, only_);
    }

    void copy() {
        const uint64_t half = std::min<uint64_t>(pool_.bytes() / 2, uint64_t{2} << 30);
        const double us = clock_.microseconds(device_, [&](int64_t) {
            return kv8_copy(device_.handle(), nullptr, pool_.part(0, half), pool_.part(half, half));
        });
        copy_gbps_ = 2e-3 * double(half) / us;
        fprintf(stderr, "copy: %.1f GB/s, reads and writes counted\n", copy_gbps_);
    }

    void all_decode(kv8_dtype dtype) {
        const std::vector<int> batches = tiny_ ? std::vector<int>{2} : std::vector<int>{1, 8, 32, 128, 256};
        const std::vector<int> contexts =
            tiny_ ? std::vector<int>{40} : std::vector<int>{128, 512, 2048, 8192, 32768, 131072};
        for (int group : {1, 4, 8})
            for (int batch : batches)
                for (int context : contexts)
                    for (uint32_t flags : {0, int(KV8_PLAN_BATCH_INVARIANT)})
                        decode(decode_, dtype, {batch, 1, context, group * kKvHeads, flags});
        // Several queries of a sequence, as speculative decoding has them; and one long text among many short ones.
        for (uint32_t flags : {0, int(KV8_PLAN_BATCH_INVARIANT)}) {
            for (int queries : tiny_ ? std::vector<int>{3} : std::vector<int>{2, 4, 8})
                decode(other_decode_, dtype, {tiny_ ? 2 : 32, queries, tiny_ ? 40 : 8192, 4 * kKvHeads, flags});
            decode(other_decode_, dtype,
                   {tiny_ ? 3 : 256, 1, tiny_ ? 20 : 512, 4 * kKvHeads, flags, tiny_ ? 90 : 131072});
        }
    }

    void decode(Section& section, kv8_dtype dtype, const Batch& batch) {
        if (!wanted(section, batch.json() + dtype_json(dtype))) return;
        const double us = attention(dtype, batch);
        if (us == 0) return;
        const double bytes = double(batch.keys()) * double(LayeredCache::block_bytes(dtype)) / kBlockSize;
        const double gbps = 1e-3 * bytes / us;
        section.add(batch.json() + dtype_json(dtype) +
                    formatted(", \"us\": %.2f, \"gbps\": %.1f, \"percent_of_copy_bandwidth\": %.1f%s", us, gbps,
                              100 * gbps / copy_gbps_, against_bf16(dtype, "decode " + batch.json(), us).c_str()));
    }

    void all_prefill(kv8_dtype dtype) {
        const std::vector<Batch> batches =
            tiny_ ? std::vector<Batch>{{1, 20, 40, 32}}
                  : std::vector<Batch>{
                        {1, 2048, 2048, 32}, {4, 2048, 2048, 32}, {1, 8192, 8192, 32}, {1, 2048, 32768, 32}};
        for (const Batch& batch : batches) {
            if (!wanted(prefill_, batch.json() + dtype_json(dtype))) continue;
            const double us = attention(dtype, batch);
            if (us == 0) continue;
            // Query r sees context - queries + r + 1 keys; a product and a sum for each dim, in q.k and in p.v.
            const double keys = double(batch.queries) * (batch.context - 0.5 * (batch.queries - 1));
            const double tflops = 4e-6 * batch.sequences * keys * batch.q_heads * kHeadSize / us;
            prefill_.add(batch.json() + dtype_json(dtype) +
                         formatted(", \"us\": %.2f, \"tflops\": %.1f%s", us, tflops,
                                   against_bf16(dtype, "prefill " + batch.json(), us).c_str()));
        }
    }

    // Microseconds of one layer; 0: it does not fit.
    double attention(kv8_dtype dtype, const Batch& batch) {
        const uint64_t layer_bytes = uint64_t(batch.blocks()) * LayeredCache::block_bytes(dtype);
        const int64_t layers = layers_for(layer_bytes, pool_.bytes());
        if (layers == 0) {
            left_out_.add(batch.json() + dtype_json(dtype) +
                          formatted(", \"needs_bytes\": %llu, \"free_bytes\": %llu", (unsigned long long)layer_bytes,
                                    (unsigned long long)pool_.bytes()));
            return 0;
        }
        const LayeredCache cache(pool_, dtype, batch.blocks(), layers);
        std::vector<int32_t> ids(size_t(batch.blocks())), starts, lens(size_t(batch.sequences), batch.context);
        std::iota(ids.begin(), ids.end(), 0);
        std::shuffle(ids.begin(), ids.end(), std::mt19937(2));
        if (batch.longest > 0) lens[0] = batch.longest;
        std::vector<int32_t> table(size_t(batch.sequences * batch.entries()), -1);
        size_t next = 0;
        for (size_t s = 0; s < lens.size(); s++)
            for (int64_t entry = 0; entry < Batch::blocks_of(lens[s]); entry++)
                table[s * size_t(batch.entries()) + size_t(entry)] = ids[next++];
        for (int s = 0; s <= batch.sequences; s++) starts.push_back(s * batch.queries);

        kv8_attention_plan_args plan = {};
        plan.struct_size = sizeof(plan);
        plan.flags = batch.flags;
        plan.num_seqs = batch.sequences;
        plan.q_heads = batch.q_heads;
        plan.kv_heads = kKvHeads;
        plan.head_size = kHeadSize;
        plan.query_start_loc = span_of(starts);
        plan.seq_lens = span_of(lens);
        require(kv8_attention_plan(device_.handle(), nullptr, &plan));
        const Buffer workspace(device_, plan.workspace_bytes), table_on_device(device_, table.size() * 4);
        plan.workspace = workspace.span();
        require(kv8_attention_plan(device_.handle(), nullptr, &plan));
        table_on_device.upload(table);

        const uint64_t row_bytes = uint64_t(batch.tokens() * batch.q_heads * kHeadSize) * 2;
        const Buffer q(device_, row_bytes), out(device_, row_bytes);
        q.fill_with_numbers(KV8_BF16);
        kv8_attention_args args = {};
        args.struct_size = sizeof(args);
        args.softmax_scale = 0.0883883f;
        args.plan = workspace.span();
        args.block_table = table_on_device.span();
        args.block_table_stride = batch.entries();
        args.q = packed_rows(q, batch.q_heads);
        args.out = packed_rows(out, batch.q_heads);
        return clock_.microseconds(device_, [&](int64_t call) {
            const kv8_cache_view view = cache.layer(call);
            args.view = &view;
            return kv8_attention(device_.handle(), nullptr, &args);
        });
    }

    // Rotary embedding, quantization and scatter of a step's tokens, into the layers of a cache in turn.
    void write(kv8_dtype dtype, int tokens) {
        const std::string json = formatted("\"tokens\": %d", tokens);
        if (!wanted(write_, json + dtype_json(dtype))) return;
        const int64_t blocks = (tokens + kBlockSize - 1) / kBlockSize;
        const int64_t layers = layers_for(uint64_t(blocks) * LayeredCache::block_bytes(dtype), pool_.bytes());
        const LayeredCache cache(pool_, dtype, blocks, layers);
        const uint64_t row_bytes = uint64_t(tokens) * kKvHeads * kHeadSize * 2;
        const Buffer k(device_, row_bytes), v(device_, row_bytes), slots(device_, uint64_t(tokens) * 8),
            positions(device_, uint64_t(tokens) * 4), table(device_, 4096 * kHeadSize * 4);
        for (const Buffer* buffer : {&k, &v}) buffer->fill_with_numbers(KV8_BF16);
        table.fill_with_numbers(KV8_F32);
        std::vector<int64_t> slot(size_t(tokens), 0);
        std::iota(slot.begin(), slot.end(), 0);
        std::shuffle(slot.begin(), slot.end(), std::mt19937(3));
        slots.upload(slot);
        std::vector<int32_t> position(size_t(tokens), 0);
        for (size_t t = 0; t < position.size(); t++) position[t] = int32_t(t % 4096);
        positions.upload(position);
        kv8_write_args args = {};
        args.struct_size = sizeof(args);
        args.tokens = tokens;
        args.k = packed_rows(k, kKvHeads);
        args.v = packed_rows(v, kKvHeads);
        args.slots = slots.span();
        args.rope = {table.span(), positions.span(), kHeadSize, KV8_ROPE_HALF};
        const double us = clock_.microseconds(device_, [&](int64_t call) {
            const kv8_cache_view view = cache.layer(call);
            args.view = &view;
            return kv8_write(device_.handle(), nullptr, &args);
        });
        const double bytes = double(tokens) * kKvHeads * kHeadSize * 2 * (2 + bytes_of(dtype));
        write_.add(json + dtype_json(dtype) +
                   formatted(", \"us\": %.2f, \"gbps\": %.1f%s", us, 1e-3 * bytes / us,
                             against_bf16(dtype, "write " + json, us).c_str()));
    }

    void casts() {
        const int64_t count = tiny_ ? 1000 : int64_t{1} << 28;
        for (kv8_dtype fp8 : {KV8_E4M3FN, KV8_E5M2, KV8_E4M3FNUZ, KV8_E5M2FNUZ})
            for (bool encode : {true, false}) {
                kv8_cast_args args = {};
                args.struct_size = sizeof(args);
                args.scale = 0.5f;
                args.count = count;
                args.src_dtype = encode ? KV8_BF16 : fp8;
                args.dst_dtype = encode ? fp8 : KV8_BF16;
                const std::string json =
                    formatted("\"from\": \"%s\", \"to\": \"%s\", \"count\": %lld", kv8_test::name_of(args.src_dtype),
                              kv8_test::name_of(args.dst_dtype), (long long)count);
                if (!wanted(cast_, json)) continue;
                args.src = pool_.part(0, uint64_t(count * bytes_of(args.src_dtype)));
                args.dst = pool_.part(uint64_t(count) * 2, uint64_t(count * bytes_of(args.dst_dtype)));
                const double us =
                    clock_.microseconds(device_, [&](int64_t) { return kv8_cast(device_.handle(), nullptr, &args); });
                const double gbps = 3e-3 * double(count) / us;
                cast_.add(json + formatted(", \"us\": %.2f, \"gbps\": %.1f, \"percent_of_copy_bandwidth\": %.1f", us,
                                           gbps, 100 * gbps / copy_gbps_));
            }
    }

    // The linear layers of Llama 3.1 8B in bfloat16: Q, K and V; gate and up; down. Weights come from memory, as in a model.
    void products() {
        struct Layer {
            int outputs, inputs;
        };
        pool_.fill_with_numbers(KV8_BF16);
        for (Layer layer :
             tiny_ ? std::vector<Layer>{{64, 32}} : std::vector<Layer>{{6144, 4096}, {28672, 4096}, {4096, 14336}})
            for (int tokens : tiny_ ? std::vector<int>{3} : std::vector<int>{1, 8, 64, 512, 4096}) {
                const std::string json =
                    formatted("\"tokens\": %d, \"outputs\": %d, \"inputs\": %d", tokens, layer.outputs, layer.inputs);
                if (!wanted(matmul_, json)) continue;
                const Buffer x(device_, uint64_t(tokens) * uint64_t(layer.inputs) * 2),
                    y(device_, uint64_t(tokens) * uint64_t(layer.outputs) * 2);
                x.fill_with_numbers(KV8_BF16);
                const uint64_t bytes = uint64_t(layer.outputs) * uint64_t(layer.inputs) * 2;
                const int64_t copies = std::max<int64_t>(1, std::min<int64_t>(64, int64_t(pool_.bytes() / bytes)));
                kv8_matmul_args args = {};
                args.struct_size = sizeof(args);
                args.tokens = tokens;
                args.outputs = layer.outputs;
                args.inputs = layer.inputs;
                args.x = {x.span(), int64_t{2} * layer.inputs, 0, KV8_BF16, 0};
                args.y = {y.span(), int64_t{2} * layer.outputs, 0, KV8_BF16, 0};
                args.weights = pool_.part(0, bytes);
                args.weights_dtype = KV8_BF16;
                if (kv8_matmul(device_.handle(), nullptr, &args) == KV8_LIBRARY_MISSING) {
                    fprintf(stderr, "matmul: left out. %s\n", kv8_last_error());
                    return;
                }
                const double us = clock_.microseconds(device_, [&](int64_t call) {
                    args.weights = pool_.part(uint64_t(call % copies) * bytes, bytes);
                    return kv8_matmul(device_.handle(), nullptr, &args);
                });
                matmul_.add(json + formatted(", \"us\": %.2f, \"weights_gbps\": %.1f, \"tflops\": %.2f", us,
                                             1e-3 * double(bytes) / us, 1e-6 * double(bytes) * tokens / us));
            }
    }

    // bfloat16 is measured first; FP8's time as a part of it, as a member of the JSON line.
    std::string against_bf16(kv8_dtype dtype, const std::string& what, double us) {
        if (dtype == KV8_BF16) bf16_us_[what] = us;
        const auto bf16 = bf16_us_.find(what);
        return dtype == KV8_BF16 || bf16 == bf16_us_.end() ? ""
                                                           : formatted(", \"time_vs_bf16\": %.3f", us / bf16->second);
    }

    const TestDevice& device_;
    const bool tiny_;
    const std::regex only_;
    const Clock clock_;
    const Buffer pool_;
    double copy_gbps_ = 0;
    std::map<std::string, double> bf16_us_;
    Section decode_{"decode", {}}, other_decode_{"other_decode", {}}, prefill_{"prefill", {}}, write_{"write", {}},
        cast_{"cast", {}}, matmul_{"matmul", {}}, left_out_{"left_out_for_memory", {}};
};

}  // namespace

std::string benchmark(const TestDevice& device, const BenchmarkOptions& options) {
    return Benchmark(device, options).run();
}

}  // namespace kv8_verify
