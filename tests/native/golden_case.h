// An attention case in the form of tests/goldens/README.md, read from its folder and handed to kv8_attention as it lies
// there.
#pragma once

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>

#include "attention_cases.h"

namespace kv8_test {

// tests/goldens beside this file, or KV8_GOLDENS of the environment where the tests run away from their sources.
inline std::string goldens_folder() {
    if (const char* given = std::getenv("KV8_GOLDENS")) return given;
    const std::string here = __FILE__;
    return here.substr(0, here.find_last_of('/')) + "/../goldens";
}

class GoldenCase {
  public:
    explicit GoldenCase(const std::string& folder) : folder_(folder) {
        std::ifstream properties(folder + "/case.properties");
        for (std::string line; std::getline(properties, line);)
            values_[line.substr(0, line.find('='))] = line.substr(line.find('=') + 1);
        q = read<float>("q.f32");
        q_start = read<int32_t>("q_start.i32");
        seq_lens = read<int32_t>("seq_lens.i32");
        block_table = read<int32_t>("block_table.i32");
        k_scale = read<float>("k_scale.f32");
        v_scale = read<float>("v_scale.f32");
        if (number("has_sinks") != 0) sinks = read<float>("sinks.f32");
        if (number("has_alibi") != 0) slopes = read<float>("alibi_slopes.f32");
        out = read<double>("out.f64");
        lse = read<double>("lse.f64");
        size = read<float>("outabs.f32");
        const std::vector<uint8_t> k = read<uint8_t>("k_cache.u8"), v = read<uint8_t>("v_cache.u8");
        cache_ = std::make_unique<Bytes>(k.size() + v.size());
        std::memcpy(cache_->data(), k.data(), k.size());
        std::memcpy(cache_->data() + k.size(), v.data(), v.size());
        view.struct_size = sizeof(view);
        view.num_blocks = integer("num_blocks");
        view.block_size = integer("block_size");
        view.kv_heads = integer("num_kv_heads");
        view.head_size = integer("head_dim");
        view.block_stride = int64_t(view.block_size) * view.kv_heads * view.head_size;
        view.memory = cache_->span();
        lay_out(view.k, 0, k_scale);
        lay_out(view.v, int64_t(k.size()), v_scale);
    }

    bool exists() const { return !values_.empty() && !out.empty(); }
    double number(const std::string& name) const { return std::atof(values_.at(name).c_str()); }
    int integer(const std::string& name) const { return int(number(name)); }

    std::vector<float> q, k_scale, v_scale, sinks, slopes, size;
    std::vector<int32_t> q_start, seq_lens, block_table;
    std::vector<double> out, lse;
    kv8_cache_view view = {};

  private:
    template <class T>
    std::vector<T> read(const std::string& name) const {
        std::ifstream file(folder_ + "/" + name, std::ios::binary);
        const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), {});
        std::vector<T> values(bytes.size() / sizeof(T));
        if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
        return values;
    }

    void lay_out(kv8_side& side, int64_t offset, const std::vector<float>& scales) const {
        side.dtype = values_.at("dtype") == "fp8_e5m2" ? KV8_E5M2 : KV8_E4M3FN;
        side.offset = offset;
        side.head_stride = view.head_size;
        side.slot_stride = int64_t(view.kv_heads) * view.head_size;
        side.row_scale_offset = -1;
        side.chan = span_of(scales);
        side.chan_head_stride = scales.size() > 1 ? 1 : 0;
    }

    std::string folder_;
    std::map<std::string, std::string> values_;
    std::unique_ptr<Bytes> cache_;
};

}  // namespace kv8_test
