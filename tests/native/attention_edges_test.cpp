// Attention at its edges, on every device: NaN in the cache, scores that overflow e^x, and what is refused.
#include <gtest/gtest.h>

#include "attention_runs.h"

namespace {

using namespace kv8_test;

TEST(AttentionEdges, ANanInTheCacheReachesOnlyTheQueriesThatSeeIt) {
    for (kv8_dtype q_dtype : kPlain)
        for (int window : {0, 5, 20}) {
            const AttentionCase clean = prompt_case(70, window, q_dtype);
            for (const DeviceSet& set : device_sets()) {
                if (set.is_gpu() && q_dtype != KV8_F32) continue;  // see below
                AttentionBatch before(clean, whole_batch(clean), {});
                ASSERT_EQ(KV8_OK, before.run(*set.devices[0])) << kv8_last_error();
                for (int poisoned : {0, 3, 16, 37})
                    for (bool in_v : {false, true}) {
                        SCOPED_TRACE(set.name + ", q " + name_of(q_dtype) + ", window " + std::to_string(window) +
                                     ", NaN in key " + std::to_string(poisoned));
                        AttentionCase dirty = clean;
                        CaseSequence& s = dirty.sequences[0];
                        const size_t row = size_t(clean.kv_heads) * clean.head_size;
                        std::fill_n((in_v ? s.v : s.k).begin() + std::ptrdiff_t(poisoned * row), row, 0x7Fu);
                        AttentionBatch after(dirty, whole_batch(dirty), {});
                        ASSERT_EQ(KV8_OK, after.run(*set.devices[0])) << kv8_last_error();
                        for (int query = 0; query < 70; query++)
                            for (int head = 0; head < 4; head++) {
                                if (query >= poisoned && (window == 0 || query - poisoned < window))
                                    for (uint32_t element : after.result(0, query, head).out)
                                        ASSERT_TRUE(std::isnan(value_of(KV8_F32, element))) << "query " << query;
                                else
                                    ASSERT_EQ(before.result(0, query, head), after.result(0, query, head))
                                        << "query " << query;
                            }
                    }
            }
        }
}

// With a GPU's 16-bit products a tile of queries may share a NaN that one of them sees; other sequences do not.
TEST(AttentionEdges, ANanInTheCacheStaysInItsSequence) {
    for (kv8_dtype q_dtype : {KV8_F16, KV8_BF16})
        for (bool in_v : {false, true})
            for (const DeviceSet& set : device_sets()) {
                SCOPED_TRACE(set.name + ", q " + name_of(q_dtype) + (in_v ? ", NaN in V" : ", NaN in K"));
                AttentionCase c = prompt_case(40, 0, q_dtype);
                c.sequences.push_back(c.sequences[0]);
                AttentionBatch before(c, whole_batch(c), {});
                ASSERT_EQ(KV8_OK, before.run(*set.devices[0])) << kv8_last_error();
                CaseSequence& s = c.sequences[1];
                std::fill((in_v ? s.v : s.k).begin(), (in_v ? s.v : s.k).end(), 0x7Fu);
                AttentionBatch after(c, whole_batch(c), {});
                ASSERT_EQ(KV8_OK, after.run(*set.devices[0])) << kv8_last_error();
                ASSERT_EQ(results(c, before, 0, 40), results(c, after, 0, 40));
                if (set.is_gpu() && !set.devices[0]->converts(KV8_E4M3FN)) continue;  // reads the code as 480
                for (const RowResult& row : results(c, after, 1, 40))
                    for (uint32_t element : row.out) ASSERT_TRUE(std::isnan(value_of(c.out_dtype, element)));
            }
}

TEST(AttentionEdges, ScoresBeyondFloatExpNeitherOverflowNorVanish) {
    AttentionCase c = prompt_case(600, 0);
    c.softmax_scale = 40;  // scores of some hundreds: float32's e^x ends at 88
    CaseSequence& s = c.sequences[0];
    for (const DeviceSet& set : device_sets()) {
        AttentionBatch batch(c, whole_batch(c), {});
        ASSERT_EQ(KV8_OK, batch.run(*set.devices[1])) << kv8_last_error();
        const ExactSequence exact(c, s);
        for (int query = 0; query < s.queries; query += 13)
            for (int head = 0; head < c.q_heads; head++) {
                const RowResult got = batch.result(0, query, head);
                const ExactRow want = exact.row(query, head);
                // Scores themselves have a rounding of about 1e-4 here, and weights below float32's range are 0.
                for (size_t d = 0; d < want.out.size(); d++)
                    ASSERT_TRUE(std::abs(value_of(KV8_F32, got.out[d]) - want.out[d]) <= 5e-3 * want.size[d] + 1e-36)
                        << set.name << ", query " << query << ", head " << head << ": " << value_of(KV8_F32, got.out[d])
                        << ", exactly " << want.out[d] << ", lse " << got.lse << ", exactly " << want.lse;
                ASSERT_TRUE(std::abs(got.lse - want.lse) <= 1e-6 * std::abs(want.lse) + 1e-3) << set.name;
            }
    }
}

// 16-bit products must not make scores worse as they grow: these reach thousands, and one key or two have all the weight.
TEST(AttentionEdges, SixteenBitQueriesOfAnySizeAndLongContextsStayWithinTheTolerance) {
    if (device_sets()[0].is_gpu()) return;  // the largest scores are beyond its half floats
    for (kv8_dtype q_dtype : {KV8_F16, KV8_BF16})
        for (kv8_dtype dtype : {KV8_E4M3FN, KV8_E5M2, KV8_BF16})
            for (double q_size : {1.0, 30.0, 300.0}) {
                SCOPED_TRACE(testing::Message()
                             << "q " << name_of(q_dtype) << " of size " << q_size << ", cache " << name_of(dtype));
                AttentionCase c;
                c.q_heads = 4;
                c.head_size = 112;
                c.q_dtype = q_dtype;
                c.k.dtype = c.v.dtype = dtype;
                c.k.scales = c.v.scales = is_fp8(dtype) ? Scales::kTensor : Scales::kNone;
                c.softmax_scale = 1;
                Random random(11);
                fill_chan(random, c, c.k);
                fill_chan(random, c, c.v);
                CaseSequence s;
                s.queries = 3;
                s.keys = q_size == 1.0 ? 20000 : 3000;
                fill_sequence(random, c, q_size == 1.0 ? 0.01 : q_size, s);
                c.sequences.push_back(s);
                AttentionBatch batch(c, whole_batch(c), {});
                const std::vector<ExactRow> exact = exact_rows(c)[0];
                for (const DeviceSet& set : device_sets()) {
                    SCOPED_TRACE(set.name);
                    ASSERT_EQ(KV8_OK, batch.run(*set.devices[1])) << kv8_last_error();
                    for (int query = 0; query < s.queries; query++)
                        for (int head = 0; head < c.q_heads; head++) {
                            const ExactRow& want = exact[size_t(query * c.q_heads + head)];
                            Tolerance tolerance = tolerance_of(*set.devices[1], c);
                            // Scores themselves are float32: of thousands, with 112 products each.
                            const double of_scores = q_size == 1.0 ? 0 : 1e-6 * std::abs(want.lse);
                            tolerance.out += 2 * of_scores;
                            tolerance.lse += of_scores;
                            ASSERT_EQ("", difference(c, batch.result(0, query, head), want, tolerance))
                                << "query " << query << ", head " << head;
                        }
                }
            }
}

// bfloat16's range is a float32's: a GPU brings each row of q near what its half floats hold, and the scores back.
TEST(AttentionEdges, QueriesOfAnyMagnitudeGiveTheSameScores) {
    for (kv8_dtype q_dtype : {KV8_F16, KV8_BF16})
        for (Scales scales : {Scales::kTensor, Scales::kChannel})
            for (int power : {q_dtype == KV8_BF16 ? -40 : -8, q_dtype == KV8_BF16 ? 40 : 13}) {
                AttentionCase c = prompt_case(40, 0, q_dtype);
                Random random(13);
                c.k.scales = c.v.scales = scales;
                fill_chan(random, c, c.k);
                fill_chan(random, c, c.v);
                c.softmax_scale = std::ldexp(c.softmax_scale, -power);
                for (uint32_t& q : c.sequences[0].q) q = element_of(q_dtype, std::ldexp(value_of(q_dtype, q), power));
                AttentionBatch batch(c, whole_batch(c), {});
                const auto exact = exact_rows(c);
                for (const DeviceSet& set : device_sets()) {
                    SCOPED_TRACE(testing::Message() << set.name << ", " << c.describe() << ", q by 2^" << power);
                    ASSERT_EQ(KV8_OK, batch.run(*set.devices[0])) << kv8_last_error();
                    ASSERT_NO_FATAL_FAILURE(expect_near(c, batch, exact, tolerance_of(*set.devices[0], c)));
                }
            }
}

// So long that all three sizes of a batch-invariant split are met. V tells one part of the context from the next: a part that
// is left out, or counted twice, shows.
TEST(AttentionEdges, ContextsBeyondTheLargestSplitsBeginningAreComputedWhole) {
    constexpr int kKeys = 70'000;
    AttentionCase c = prompt_case(2, 0, KV8_BF16);
    c.q_heads = c.kv_heads = 1;
    Random random(17);
    fill_chan(random, c, c.k);
    fill_chan(random, c, c.v);
    CaseSequence& s = c.sequences[0];
    s.keys = kKeys;
    fill_sequence(random, c, 0.5, s);
    for (size_t i = 0; i < s.v.size(); i++)
        s.v[i] = element_of(KV8_E4M3FN, 0.5 + double(i / 64 / 512 * 7 % 8 + i % 64 % 2) / 16);
    AttentionBatch whole(c, whole_batch(c), {}), last(c, {{0, 1, 1}}, {});
    const auto exact = exact_rows(c);
    for (const DeviceSet& set : device_sets()) {
        SCOPED_TRACE(set.name);
        const TestDevice& device = *set.devices[1];
        ASSERT_EQ(KV8_OK, whole.run(device)) << kv8_last_error();
        ASSERT_NO_FATAL_FAILURE(expect_near(c, whole, exact, tolerance_of(device, c)));
        ASSERT_EQ(KV8_OK, last.run(device)) << kv8_last_error();
        ASSERT_EQ(whole.result(0, 1, 0), last.result(0, 0, 0));
        ASSERT_EQ(KV8_OK, last.run(device, 0)) << kv8_last_error();
        ASSERT_EQ("", difference(c, last.result(0, 0, 0), exact[0][1], tolerance_of(device, c)));
    }
}

// To a GPU the keys of such a block are zeros, K and V; it says so when it is synchronized.
TEST(AttentionEdges, RefusesTableEntriesOfVisibleKeysThatNameNoBlock) {
    for (kv8_dtype q_dtype : {KV8_F32, KV8_BF16}) {
        AttentionCase c = prompt_case(100, 20, q_dtype);
        c.sequences[0].queries = 1;  // sees keys 80 to 99: blocks 5 and 6 of 16
        const TestDevice& device = *device_sets()[0].devices[0];
        for (int entry = 0; entry < 8; entry++)
            for (int32_t id : {-1, INT_MIN, INT_MAX, -2}) {
                SCOPED_TRACE(testing::Message() << "q " << name_of(q_dtype) << ", entry " << entry << ", id " << id);
                AttentionBatch batch(c, whole_batch(c), {});
                batch.table()[size_t(entry)] = id == -2 ? batch.view().num_blocks : id;
                const bool visible = entry == 5 || entry == 6;
                ASSERT_EQ(visible ? KV8_INVALID_ARGUMENT : KV8_OK, batch.run(device)) << kv8_last_error();
                if (!visible) continue;
                const std::string named = "entry " + std::to_string(entry) + " of sequence 0";
                EXPECT_NE(std::string::npos, std::string(kv8_last_error()).find(named)) << kv8_last_error();
                if (!device.is_gpu()) continue;
                EXPECT_EQ(KV8_OK, device.sync()) << "reported once: " << kv8_last_error();
                CaseSequence zeroed = c.sequences[0];
                for (auto* elements : {&zeroed.k, &zeroed.v})
                    std::fill_n(elements->begin() + 16 * entry * c.kv_heads * c.head_size,
                                std::min(16, 100 - 16 * entry) * c.kv_heads * c.head_size, 0);
                const ExactSequence exact(c, zeroed);
                for (int head = 0; head < c.q_heads; head++)
                    EXPECT_EQ("", difference(c, batch.result(0, 0, head), exact.row(0, head), tolerance_of(device, c)));
            }
    }
}

TEST(AttentionEdges, RefusesAWorkspaceThatHoldsNoPlanOrAnotherOne) {
    const AttentionCase c = prompt_case(40, 0);
    const TestDevice& device = *device_sets()[0].devices[0];
    AttentionBatch batch(c, whole_batch(c), {});
    ASSERT_EQ(KV8_OK, batch.plan(device));
    kv8_attention_args a = batch.args();
    a.plan.bytes = 64;
    EXPECT_EQ(KV8_INVALID_ARGUMENT, run(device, a));
    EXPECT_NE(std::string::npos, std::string(kv8_last_error()).find("kv8_attention_plan")) << kv8_last_error();
    const DeviceMemory unplanned(device, batch.workspace()->span().bytes, 0);
    a.plan = unplanned.span();
    EXPECT_EQ(KV8_INVALID_ARGUMENT, run(device, a));

    AttentionCase wider = c;
    wider.head_size = 128;
    wider.k.chan.assign(size_t(wider.kv_heads) * 128, 1.0f);
    wider.v.chan = wider.k.chan;
    Random random(9);
    fill_sequence(random, wider, 1.0, wider.sequences[0]);
    AttentionBatch other(wider, whole_batch(wider), {});
    ASSERT_EQ(KV8_OK, other.plan(device));
    a = batch.args();
    a.plan = other.workspace()->span();
    EXPECT_EQ(KV8_INVALID_ARGUMENT, run(device, a)) << "a plan for another head size";

    a = batch.args();
    a.q.data.bytes -= 4;
    EXPECT_EQ(KV8_BUFFER_TOO_SMALL, run(device, a));
    if (device.is_gpu()) return;  // which does not look into its memory
    batch.workspace()->fill(0);
    EXPECT_EQ(KV8_INVALID_ARGUMENT, batch.attend(device));
}

TEST(AttentionPlan, RefusesValuesThatAreNoBatch) {
    const TestDevice& device = *device_sets()[0].devices[0];
    const auto plan = [&](std::vector<int32_t> starts, std::vector<int32_t> lens) {
        kv8_attention_plan_args p = {};
        p.struct_size = sizeof(p);
        p.num_seqs = int32_t(lens.size());
        p.q_heads = p.kv_heads = 2;
        p.head_size = 64;
        p.query_start_loc = span_of(starts);
        p.seq_lens = span_of(lens);
        return run(device, p);
    };
    EXPECT_EQ(KV8_OK, plan({0, 1, 1, 4}, {5, 0, 9}));
    EXPECT_EQ(KV8_OK, plan({0}, {}));
    EXPECT_EQ(KV8_INVALID_ARGUMENT, plan({1, 2}, {5}));
    EXPECT_EQ(KV8_INVALID_ARGUMENT, plan({0, 3, 2}, {5, 5}));
    EXPECT_NE(std::string::npos, std::string(kv8_last_error()).find("sequence 1")) << kv8_last_error();
    EXPECT_EQ(KV8_INVALID_ARGUMENT, plan({0, 1}, {-1}));
}

TEST(AttentionPlan, RefusesAWorkspaceThatIsTooSmall) {
    const TestDevice& device = *device_sets()[0].devices[0];
    const std::vector<int32_t> starts = {0, 1}, lens = {2000};
    kv8_attention_plan_args p = {};
    p.struct_size = sizeof(p);
    p.num_seqs = 1;
    p.q_heads = p.kv_heads = 2;
    p.head_size = 64;
    p.query_start_loc = span_of(starts);
    p.seq_lens = span_of(lens);
    ASSERT_EQ(KV8_OK, run(device, p));
    const uint64_t needed = p.workspace_bytes;
    const DeviceMemory workspace(device, needed - 1, 0);
    p.workspace = workspace.span();
    EXPECT_EQ(KV8_BUFFER_TOO_SMALL, run(device, p));
    EXPECT_EQ(needed, p.workspace_bytes);
}

}  // namespace
