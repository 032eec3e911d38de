// Attention's own widening of FP8 codes: every code in every lane of a row, numbers by themselves and among them a single NaN or
// infinity. What one key leaves to see is its V, exactly.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "elements.h"
#include "exact_fp8.h"
#include "staging.h"

namespace {

using namespace kv8_test;

constexpr int kHeadSizes[] = {64, 80, 96, 112, 128, 192, 256};
// Query rows that share a key: so few that halves are kept of it, and so many that floats are.
constexpr int kGroups[] = {1, 9};

struct Codes {
    std::vector<uint8_t> numbers, others;
    std::vector<double> values;  // by code
};

Codes codes_of(kv8_dtype dtype) {
    Codes codes;
    for (uint32_t code = 0; code < 256; code++) {
        const exact::Number n = exact::decode(exact::format_of(dtype), code);
        const double size = n.kind == exact::Number::kNan        ? NAN
                            : n.kind == exact::Number::kInfinite ? INFINITY
                                                                 : std::ldexp(double(n.mantissa), n.exponent);
        codes.values.push_back(n.negative ? -size : size);
        (n.kind == exact::Number::kFinite ? codes.numbers : codes.others).push_back(uint8_t(code));
    }
    return codes;
}

// Texts of a few keys and one query each, all in blocks of their own: [text][key][head_size] of K and of V.
struct Texts {
    kv8_dtype dtype, q_dtype;
    int group, head_size, keys;
    std::vector<uint8_t> k, v;
    std::vector<uint8_t> hot;  // by text: the lane where q is 1, all others being 0; or empty, all are 0

    Texts(kv8_dtype dtype, kv8_dtype q_dtype, int group, int head_size, int keys, size_t count)
        : dtype(dtype), q_dtype(q_dtype), group(group), head_size(head_size), keys(keys) {
        k.resize(count * size_t(keys * head_size));
        v.resize(k.size());
    }

    int count() const { return int(v.size()) / (keys * head_size); }
    size_t at(int text, int key, int lane) const { return size_t((text * keys + key) * head_size + lane); }
    std::string describe() const {
        return std::string(name_of(dtype)) + ", q " + name_of(q_dtype) + ", head size " + std::to_string(head_size) +
               ", " + std::to_string(group) + " rows, keys " + std::to_string(keys);
    }
};

struct Results {
    std::vector<float> out;  // [text][group][head_size]
    std::vector<float> lse;  // [text][group]
};

Results attend(const TestDevice& device, const Texts& texts) {
    const int count = texts.count(), width = texts.group * texts.head_size;
    std::vector<uint8_t> memory(texts.k.size() * 2);
    const size_t side = size_t(texts.keys * texts.head_size);
    std::vector<int32_t> starts, lens, table;
    for (int text = 0; text < count; text++) {
        std::copy_n(texts.k.begin() + std::ptrdiff_t(size_t(text) * side), side, memory.begin() + text * 2 * side);
        std::copy_n(texts.v.begin() + std::ptrdiff_t(size_t(text) * side), side,
                    memory.begin() + text * 2 * side + side);
        starts.push_back(text);
        lens.push_back(texts.keys);
        table.push_back(text);
    }
    starts.push_back(count);
    Elements q(texts.q_dtype, size_t(count * width));
    for (int text = 0; text < int(texts.hot.size()); text++)
        for (int row = 0; row < texts.group; row++)
            q.set(size_t((text * texts.group + row) * texts.head_size + texts.hot[size_t(text)]),
                  texts.q_dtype == KV8_F32 ? 0x3F800000 : 0x3F80);

    kv8_cache_view view = {};
    view.struct_size = sizeof(view);
    view.num_blocks = count;
    view.block_size = texts.keys;
    view.kv_heads = 1;
    view.head_size = texts.head_size;
    view.block_stride = int64_t(side) * 2;
    view.memory = span_of(memory);
    view.k.dtype = texts.dtype;
    view.k.head_stride = int64_t(side);
    view.k.slot_stride = texts.head_size;
    view.k.row_scale_offset = -1;
    view.v = view.k;
    view.v.offset = int64_t(side);

    kv8_attention_plan_args plan = {};
    plan.struct_size = sizeof(plan);
    plan.num_seqs = count;
    plan.q_heads = texts.group;
    plan.kv_heads = 1;
    plan.head_size = texts.head_size;
    plan.query_start_loc = span_of(starts);
    plan.seq_lens = span_of(lens);
    EXPECT_EQ(KV8_OK, kv8_attention_plan(device.handle(), nullptr, &plan)) << kv8_last_error();
    const DeviceMemory workspace(device, plan.workspace_bytes, 0);
    plan.workspace = workspace.span();
    EXPECT_EQ(KV8_OK, kv8_attention_plan(device.handle(), nullptr, &plan)) << kv8_last_error();

    Results results{std::vector<float>(size_t(count * width), 12345),
                    std::vector<float>(size_t(count * texts.group), 12345)};
    kv8_attention_args args = {};
    args.struct_size = sizeof(args);
    args.softmax_scale = 1;
    args.view = &view;
    args.plan = plan.workspace;
    args.block_table = span_of(table);
    args.block_table_stride = 1;
    args.q = {q.span(), int64_t(width) * bytes_of(texts.q_dtype), texts.head_size * bytes_of(texts.q_dtype),
              texts.q_dtype, 0};
    args.out = {span_of(results.out), int64_t(width) * 4, texts.head_size * 4, KV8_F32, 0};
    args.lse = span_of(results.lse);
    EXPECT_EQ(KV8_OK, kv8_attention(device.handle(), nullptr, &args)) << kv8_last_error();
    return results;
}

// body(dtype, q's dtype, rows, head size, codes) for every format and shape.
template <class Body>
void for_each_shape(const Body& body) {
    for (kv8_dtype dtype : kFp8) {
        const Codes codes = codes_of(dtype);
        for (int head_size : kHeadSizes)
            for (int group : kGroups)
                for (kv8_dtype q_dtype : {KV8_F32, KV8_BF16}) body(dtype, q_dtype, group, head_size, codes);
    }
}

// body(device, results) on those where queries of 16 bits take another way, or for float32 ones on all.
template <class Body>
void for_each_result(const Texts& texts, const Body& body) {
    for (const auto& device : devices())
        if (texts.q_dtype == KV8_F32 || device->has_pairs()) body(*device, attend(*device, texts));
}

TEST(AttentionCodes, ANumberOfVComesOutAsItIs) {
    for_each_shape([](kv8_dtype dtype, kv8_dtype q_dtype, int group, int head_size, const Codes& codes) {
        const int numbers = int(codes.numbers.size());
        Texts texts(dtype, q_dtype, group, head_size, 1, size_t(numbers));
        for (int text = 0; text < numbers; text++)
            for (int lane = 0; lane < head_size; lane++)
                texts.v[texts.at(text, 0, lane)] = codes.numbers[size_t((text + lane) % numbers)];
        for_each_result(texts, [&](const TestDevice& device, const Results& got) {
            for (size_t i = 0; i < got.out.size(); i++) {
                const size_t text = i / size_t(group * head_size), lane = i % size_t(head_size);
                const uint8_t code = texts.v[texts.at(int(text), 0, int(lane))];
                ASSERT_EQ(codes.values[code], double(got.out[i]))
                    << device.name() << ", " << texts.describe() << ", code " << int(code) << " in lane " << lane;
            }
        });
    });
}

// What a score is, its logarithm of a sum of one tells.
TEST(AttentionCodes, ANumberOfKIsMultipliedAsItIs) {
    for_each_shape([](kv8_dtype dtype, kv8_dtype q_dtype, int group, int head_size, const Codes& codes) {
        const int numbers = int(codes.numbers.size());
        Texts texts(dtype, q_dtype, group, head_size, 1, size_t(numbers));
        for (int text = 0; text < numbers; text++) {
            texts.hot.push_back(uint8_t(text * 7 % head_size));
            for (int lane = 0; lane < head_size; lane++)
                texts.k[texts.at(text, 0, lane)] = codes.numbers[size_t((text + lane) % numbers)];
        }
        for_each_result(texts, [&](const TestDevice& device, const Results& got) {
            for (size_t i = 0; i < got.lse.size(); i++) {
                const int text = int(i) / group, lane = texts.hot[size_t(text)];
                const uint8_t code = texts.k[texts.at(text, 0, lane)];
                const double want = codes.values[code];
                ASSERT_NEAR(want, got.lse[i], 1e-6 * std::abs(want))
                    << device.name() << ", " << texts.describe() << ", code " << int(code) << " in lane " << lane;
            }
        });
    });
}

// Alone among numbers, in every lane of a row, of one key and of the first, the second or the third of three.
TEST(AttentionCodes, ASingleCodeThatIsNoNumberIsFoundInEveryLane) {
    for_each_shape([](kv8_dtype dtype, kv8_dtype q_dtype, int group, int head_size, const Codes& codes) {
        const int numbers = int(codes.numbers.size()), others = int(codes.others.size());
        for (int keys : {1, 3}) {
            Texts texts(dtype, q_dtype, group, head_size, keys, size_t(others * head_size));
            for (size_t i = 0; i < texts.v.size(); i++) texts.v[i] = codes.numbers[i * 5 % size_t(numbers)];
            texts.k.assign(texts.k.size(), 0);
            const auto lane_of = [&](int text) { return text % head_size; };
            const auto code_of = [&](int text) { return codes.others[size_t(text / head_size)]; };
            for (int text = 0; text < texts.count(); text++)
                texts.v[texts.at(text, text % keys, lane_of(text))] = code_of(text);
            for_each_result(texts, [&](const TestDevice& device, const Results& got) {
                // An infinity has a part of its weight in each product of a pair, and the second part is 0.
                const bool exact_infinity = !(device.has_pairs() && q_dtype != KV8_F32);
                for (size_t i = 0; i < got.out.size(); i++) {
                    const int text = int(i) / (group * head_size), lane = int(i) % head_size;
                    const double other = codes.values[code_of(text)];
                    const float x = got.out[i];
                    const bool as_wanted = lane != lane_of(text)              ? std::isfinite(x)
                                           : std::isnan(other)                ? std::isnan(x)
                                           : exact_infinity || !std::isnan(x) ? x == float(other)
                                                                              : true;
                    ASSERT_TRUE(as_wanted)
                        << device.name() << ", " << texts.describe() << ", code " << int(code_of(text)) << " in lane "
                        << lane_of(text) << ": lane " << lane << " is " << x;
                }
            });
        }
    });
}

TEST(AttentionCodes, ASingleNanOfKReachesItsScoreFromEveryLane) {
    for_each_shape([](kv8_dtype dtype, kv8_dtype q_dtype, int group, int head_size, const Codes& codes) {
        std::vector<uint8_t> nans;
        for (uint8_t code : codes.others)
            if (std::isnan(codes.values[code])) nans.push_back(code);
        Texts texts(dtype, q_dtype, group, head_size, 1, nans.size() * size_t(head_size));
        for (size_t i = 0; i < texts.k.size(); i++) texts.k[i] = codes.numbers[i * 5 % codes.numbers.size()];
        for (int text = 0; text < texts.count(); text++)
            texts.k[texts.at(text, 0, text % head_size)] = nans[size_t(text / head_size)];
        for_each_result(texts, [&](const TestDevice& device, const Results& got) {
            for (size_t i = 0; i < got.lse.size(); i++) {
                const int text = int(i) / group;
                ASSERT_TRUE(std::isnan(got.lse[i]))
                    << device.name() << ", " << texts.describe() << ", code " << int(nans[size_t(text / head_size)])
                    << " in lane " << text % head_size << ": " << got.lse[i];
            }
        });
    });
}

}  // namespace
