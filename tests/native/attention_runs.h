// What the attention suites share: this run's seed and cases, the devices they run on, and all rows of a result.
#pragma once

#include <array>
#include <chrono>

#include "attention_reference.h"

namespace kv8_test {

// This run's seed: KV8_TEST_SEED, else a new one, by the clock (std::random_device would want a newer C library than machines with
// GPUs have); it is printed either way.
inline uint64_t attention_seed() {
    static const uint64_t value = [] {
        const int64_t now = std::chrono::steady_clock::now().time_since_epoch().count();
        const uint64_t drawn = std::getenv("KV8_TEST_SEED") != nullptr ? seed() : uint64_t(now);
        printf("attention cases: KV8_TEST_SEED=%llu\n", (unsigned long long)drawn);
        return drawn;
    }();
    return value;
}

// Cases against float64: KV8_ATTENTION_CASES, else as many as take some seconds. Sanitizers look for what goes wrong whatever the
// numbers are, a few times as slowly: they get every head size with every group of query heads, but not as often.
inline int case_count() {
    const char* given = std::getenv("KV8_ATTENTION_CASES");
    const bool emulated = devices().front()->is_emulated();
#ifdef __SANITIZE_ADDRESS__
    const int cases = emulated ? 119 : 168;
#else
    const int cases = emulated ? 238 : 560;
#endif
    return given != nullptr ? std::atoi(given) : cases;
}

inline AttentionCase case_of_run(uint64_t seed, int index) {
    CaseMix mix;
    mix.gpu = devices().front()->is_gpu();
    if (devices().front()->is_emulated()) mix.products = 1'000'000;
    return make_case(seed, index, mix);
}

inline std::string name_of_case(const AttentionCase& c, int index) {
    return "KV8_TEST_SEED=" + std::to_string(attention_seed()) + " case " + std::to_string(index) + ": " + c.describe();
}

// One of devices(), opened three times: an instruction set with 1, 2 and 4 threads.
struct DeviceSet {
    std::string name;
    std::array<std::unique_ptr<TestDevice>, 3> devices;
    bool is_gpu() const { return devices[0]->is_gpu(); }
};

inline const std::vector<DeviceSet>& device_sets() {
    static const auto* all = [] {
        auto* list = new std::vector<DeviceSet>;
        for (const auto& device : devices()) {
            DeviceSet set{device->name(), {}};
            const int threads[] = {1, 2, 4};
            for (size_t i = 0; i < 3; i++)
                set.devices[i] = std::make_unique<TestDevice>(device->name().c_str(), threads[i]);
            list->push_back(std::move(set));
        }
        return list;
    }();
    return *all;
}

// All rows of a part.
inline std::vector<RowResult> results(const AttentionCase& c, const AttentionBatch& batch, int part, int queries) {
    std::vector<RowResult> rows;
    for (int query = 0; query < queries; query++)
        for (int head = 0; head < c.q_heads; head++) rows.push_back(batch.result(part, query, head));
    return rows;
}

// All rows of a case, exactly.
inline std::vector<std::vector<ExactRow>> exact_rows(const AttentionCase& c) {
    std::vector<std::vector<ExactRow>> exact;
    for (const CaseSequence& s : c.sequences) {
        const ExactSequence sequence(c, s);
        exact.emplace_back();
        for (int query = 0; query < s.queries; query++)
            for (int head = 0; head < c.q_heads; head++) exact.back().push_back(sequence.row(query, head));
    }
    return exact;
}

// Whether the rows of a whole batch are within the device's tolerance, and nothing beside them was written.
inline void expect_near(const AttentionCase& c, const AttentionBatch& batch,
                        const std::vector<std::vector<ExactRow>>& exact, const Tolerance& tolerance) {
    for (size_t s = 0; s < c.sequences.size(); s++)
        for (size_t row = 0; row < exact[s].size(); row++) {
            const int query = int(row) / c.q_heads, head = int(row) % c.q_heads;
            ASSERT_EQ("", difference(c, batch.result(int(s), query, head), exact[s][row], tolerance))
                << "sequence " << s << ", query " << query << ", head " << head << ", block size "
                << batch.block_size();
        }
    ASSERT_TRUE(batch.gaps_untouched());
}

// One prompt, every row of which is computed in one call.
inline AttentionCase prompt_case(int keys, int window, kv8_dtype q_dtype = KV8_F32) {
    AttentionCase c;
    c.q_heads = 4;
    c.kv_heads = 2;
    c.q_dtype = q_dtype;
    c.k.dtype = c.v.dtype = KV8_E4M3FN;
    c.window = window;
    c.softmax_scale = 0.125f;
    Random random(7);
    fill_chan(random, c, c.k);
    fill_chan(random, c, c.v);
    c.sequences.resize(1);
    c.sequences[0].queries = c.sequences[0].keys = keys;
    fill_sequence(random, c, 1.0, c.sequences[0]);
    return c;
}

}  // namespace kv8_test
