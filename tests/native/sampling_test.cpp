// Sampling: which token is drawn, against a plain sort in float64, and how often, over a grid of uniform numbers.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "staging.h"
#include "elements.h"
#include "exact_fp8.h"

namespace {

using namespace kv8_test;

constexpr float kBarred = -std::numeric_limits<float>::infinity();

// Draws once per sampling, all from rows of one table of logits: row t of `logits` belongs to samplings[t].
std::vector<int32_t> draw(const TestDevice& device, const Elements& logits, std::vector<kv8_sampling> samplings,
                          int64_t row_elements) {
    std::vector<int32_t> ids(samplings.size(), -1);
    kv8_sample_args args{};
    args.struct_size = sizeof(args);
    args.tokens = static_cast<int32_t>(samplings.size());
    args.vocabulary = static_cast<int32_t>(row_elements);
    args.logits.data = logits.span();
    args.logits.token_stride = args.logits.head_stride = row_elements * bytes_of(logits.dtype());
    args.logits.dtype = logits.dtype();
    args.sampling = span_of(samplings);
    args.ids = span_of(ids);
    EXPECT_EQ(run(device, args), KV8_OK) << kv8_last_error();
    return ids;
}

int32_t draw_one(const TestDevice& device, const std::vector<float>& logits, kv8_sampling sampling) {
    Elements row(KV8_F32, logits.size());
    for (size_t i = 0; i < logits.size(); i++) row.set(i, bits_of(logits[i]));
    return draw(device, row, {sampling}, static_cast<int64_t>(logits.size()))[0];
}

// What kv8.h says, word by word. `doubtful`: a comparison was closer than sums in float64 are exact.
int32_t expected_draw(const std::vector<float>& logits, const kv8_sampling& s, bool& doubtful) {
    std::vector<int32_t> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    const auto logit = [&](int32_t id) { return double(logits[static_cast<size_t>(id)]); };
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logit(a) > logit(b); });
    if (s.temperature == 0) return order[0];
    std::vector<double> p;
    for (int32_t id : order) p.push_back(std::exp((logit(id) - logit(order[0])) / double(s.temperature)));
    if (s.top_k > 0 && p.size() > static_cast<size_t>(s.top_k)) p.resize(static_cast<size_t>(s.top_k));
    const double mass = std::accumulate(p.begin(), p.end(), 0.0);
    const auto exceeds = [&](double sum, double limit) {
        doubtful |= std::abs(sum - limit) < 1e-10 * mass;
        return sum > limit;
    };
    double kept = 0;
    size_t count = 0;
    while (count < p.size() && (count == 0 || !exceeds(kept, double(s.top_p) * mass))) kept += p[count++];
    if (s.top_p == 1) {
        kept = mass;
        count = p.size();
        doubtful = false;
    }
    double cumulative = 0;
    for (size_t i = 0; i < count; i++) {
        cumulative += p[i];
        if (exceeds(cumulative, double(s.uniform) * kept)) return order[i];
    }
    doubtful = true;
    return order[0];
}

class Sampling : public testing::Test {
  protected:
    std::mt19937 random{static_cast<uint32_t>(seed())};
    testing::ScopedTrace trace{__FILE__, __LINE__, "KV8_TEST_SEED=" + std::to_string(seed())};

    float uniform() { return std::min(std::uniform_real_distribution<float>(0, 1)(random), 0x1.fffffep-1f); }
};

TEST_F(Sampling, DrawsAsTheHeaderSays) {
    for (const auto& device : devices()) {
        SCOPED_TRACE(device->name());
        int doubtful = 0, drawn = 0;
        for (int round = 0; round < 60; round++) {
            const kv8_dtype dtype = kPlain[random() % 3];
            const size_t vocabulary = round < 20 ? 1 + random() % 40 : 1 + random() % 3000, tokens = 1 + random() % 40;
            const float spread = std::vector<float>{0.1f, 1, 4, 30}[random() % 4];
            std::normal_distribution<float> normal(0, spread);
            Elements logits(dtype, vocabulary * tokens);
            for (size_t i = 0; i < logits.size(); i++)
                // Coarse values, so that equal logits are common, and some barred ids.
                logits.set(i, exact::convert(KV8_F32, dtype,
                                             bits_of(random() % 16 ? std::round(normal(random) * 8) / 8 : kBarred)));
            for (size_t t = 0; t < tokens; t++)
                logits.set(t * vocabulary, exact::convert(KV8_F32, dtype, bits_of(0.5f)));
            std::vector<kv8_sampling> samplings;
            for (size_t t = 0; t < tokens; t++) {
                kv8_sampling s{};
                s.temperature = std::vector<float>{0, 0.3f, 0.7f, 1, 2.5f}[random() % 5];
                s.top_p = random() % 2 ? 1 : std::max(uniform(), 1e-6f);
                s.top_k = random() % 2 ? 0 : 1 + static_cast<int32_t>(random() % 60);
                s.uniform = random() % 8 ? uniform() : random() % 2 ? 0 : 0x1.fffffep-1f;
                samplings.push_back(s);
            }
            const std::vector<int32_t> ids = draw(*device, logits, samplings, static_cast<int64_t>(vocabulary));
            for (size_t t = 0; t < tokens; t++) {
                std::vector<float> row;
                for (size_t i = 0; i < vocabulary; i++)
                    row.push_back(float_of(exact::convert(dtype, KV8_F32, logits.at(t * vocabulary + i))));
                bool is_doubtful = false;
                const int32_t expected = expected_draw(row, samplings[t], is_doubtful);
                doubtful += is_doubtful;
                drawn++;
                const kv8_sampling& s = samplings[t];
                if (is_doubtful) continue;
                ASSERT_EQ(ids[t], expected)
                    << name_of(dtype) << ", vocabulary " << vocabulary << ", temperature " << s.temperature
                    << ", top_p " << s.top_p << ", top_k " << s.top_k << ", uniform " << s.uniform;
            }
        }
        EXPECT_LT(doubtful, drawn / 20);
    }
}

TEST_F(Sampling, DrawsEachTokenAsOftenAsItsProbability) {
    const int kDraws = devices().front()->is_emulated() ? 1'000 : 20'000;
    const std::vector<float> logits{0, 2, -1, 2, kBarred, 0.5f, -4, 1};
    for (const auto& device : devices()) {
        SCOPED_TRACE(device->name());
        std::vector<double> p;
        for (float logit : logits) p.push_back(std::exp(double(logit) / 1.5));
        const double mass = std::accumulate(p.begin(), p.end(), 0.0);
        std::vector<int> drawn(logits.size());
        Elements rows(KV8_F32, logits.size() * static_cast<size_t>(kDraws));
        std::vector<kv8_sampling> samplings;
        for (int i = 0; i < kDraws; i++) {
            for (size_t id = 0; id < logits.size(); id++)
                rows.set(static_cast<size_t>(i) * logits.size() + id, bits_of(logits[id]));
            samplings.push_back({1.5f, 1, 0, (static_cast<float>(i) + 0.5f) / static_cast<float>(kDraws)});
        }
        for (int32_t id : draw(*device, rows, samplings, static_cast<int64_t>(logits.size())))
            drawn[static_cast<size_t>(id)]++;
        // A grid point can fall on the wrong side of a token's interval at its two ends only.
        for (size_t id = 0; id < logits.size(); id++) EXPECT_NEAR(drawn[id], kDraws * p[id] / mass, 2) << "id " << id;
    }
}

TEST_F(Sampling, PrefersTheLowerIdAmongEquals) {
    for (const auto& device : devices()) {
        SCOPED_TRACE(device->name());
        std::vector<float> logits(100, 1.0f);
        logits[0] = 0.5f;
        EXPECT_EQ(draw_one(*device, logits, {0, 1, 0, 0.9f}), 1) << "greedy";
        EXPECT_EQ(draw_one(*device, logits, {1, 1, 1, 0.9f}), 1) << "top 1";
        EXPECT_EQ(draw_one(*device, logits, {1, 1, 4, 0.8f}), 4) << "the last of the top 4";
        EXPECT_EQ(draw_one(*device, logits, {1, 1e-6f, 0, 0.9f}), 1) << "the smallest nucleus";
        logits[50] = -0.0f;
        logits[51] = 0.0f;
        for (size_t i = 0; i < 100; i++)
            if (i != 50 && i != 51) logits[i] = kBarred;
        EXPECT_EQ(draw_one(*device, logits, {0, 1, 0, 0}), 50) << "-0 equals 0";
        EXPECT_EQ(draw_one(*device, logits, {1, 1, 0, 0.4f}), 50) << "-0 equals 0";
        EXPECT_EQ(draw_one(*device, logits, {1, 1, 0, 0.6f}), 51) << "-0 equals 0";
    }
}

TEST_F(Sampling, NeverDrawsWhatHasNoProbability) {
    for (const auto& device : devices()) {
        SCOPED_TRACE(device->name());
        // At this temperature the others' weights are 0 in float64 as well.
        EXPECT_EQ(draw_one(*device, {1, 2, 3, 2}, {1e-30f, 1, 0, 0x1.fffffep-1f}), 2);
        EXPECT_EQ(draw_one(*device, {kBarred, kBarred, -3e38f, kBarred}, {1, 1, 0, 0x1.fffffep-1f}), 2);
        EXPECT_EQ(draw_one(*device, {3e38f, -3e38f, kBarred}, {1, 1, 0, 0x1.fffffep-1f}), 0);
        EXPECT_EQ(draw_one(*device, {-5}, {1, 0.5f, 3, 0x1.fffffep-1f}), 0);
    }
}

}  // namespace
