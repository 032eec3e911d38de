// Paged attention through the public door, on every device: against float64 over generated cases and the goldens, and bit for
// bit against itself however the batch, the cache and the prompt are cut.
#include <gtest/gtest.h>

#include "attention_runs.h"
#include "golden_case.h"

namespace {

using namespace kv8_test;

TEST(Attention, IsNearFloat64OverGeneratedCases) {
    ASSERT_GE(case_count(), 1);
    for (int index = 0; index < case_count(); index++) {
        const AttentionCase c = case_of_run(attention_seed(), index);
        SCOPED_TRACE(name_of_case(c, index));
        Random random(attention_seed() + uint64_t(index));
        const Placement placement = make_placement(random);
        const int plan_window = chance(random, 0.5) ? c.window : 0;
        const std::vector<std::vector<ExactRow>> exact = exact_rows(c);
        AttentionBatch batch(c, whole_batch(c), placement);
        for (const DeviceSet& set : device_sets()) {
            SCOPED_TRACE(set.name);
            const TestDevice& device = *set.devices[size_t(index % 3)];
            for (uint32_t flags : {0, int(KV8_PLAN_BATCH_INVARIANT)}) {
                if (!set.is_gpu() && flags != uint32_t(index % 2)) continue;  // the CPU does the same for both
                SCOPED_TRACE(flags);
                ASSERT_EQ(KV8_OK, batch.run(device, flags, plan_window)) << kv8_last_error();
                ASSERT_NO_FATAL_FAILURE(expect_near(c, batch, exact, tolerance_of(device, c)));
            }
        }
    }
}

TEST(Attention, GivesTheSameBitsInAnyBatchPlacementAndThreadCount) {
    for (int index = 0; index < case_count() / 8; index++) {
        const AttentionCase c = case_of_run(attention_seed() + 1, index);
        SCOPED_TRACE(name_of_case(c, index));
        for (const DeviceSet& set : device_sets()) {
            SCOPED_TRACE(set.name);
            Random random(attention_seed() + uint64_t(index));
            AttentionBatch together(c, whole_batch(c), make_placement(random));
            ASSERT_EQ(KV8_OK, together.run(*set.devices[0])) << kv8_last_error();
            AttentionBatch elsewhere(c, whole_batch(c), make_placement(random));
            for (size_t device : {1, 2}) {
                ASSERT_EQ(KV8_OK, elsewhere.run(*set.devices[device])) << kv8_last_error();
                for (size_t s = 0; s < c.sequences.size(); s++)
                    ASSERT_EQ(results(c, together, int(s), c.sequences[s].queries),
                              results(c, elsewhere, int(s), c.sequences[s].queries))
                        << "sequence " << s << " in other blocks with " << (device == 1 ? 2 : 4) << " threads";
            }
            for (size_t s = 0; s < c.sequences.size(); s++) {
                AttentionBatch alone(c, {{int(s), 0, c.sequences[s].queries}}, make_placement(random));
                ASSERT_EQ(KV8_OK, alone.run(*set.devices[2])) << kv8_last_error();
                ASSERT_EQ(results(c, together, int(s), c.sequences[s].queries),
                          results(c, alone, 0, c.sequences[s].queries))
                    << "sequence " << s << " alone";
            }
        }
    }
}

TEST(Attention, GivesTheSameBitsHoweverAPromptIsCutIntoChunks) {
    for (int index = 0; index < case_count() / 8; index++) {
        const AttentionCase c = case_of_run(attention_seed() + 2, index);
        SCOPED_TRACE(name_of_case(c, index));
        for (const DeviceSet& set : device_sets()) {
            SCOPED_TRACE(set.name);
            Random random(attention_seed() + uint64_t(index));
            AttentionBatch whole(c, whole_batch(c), make_placement(random));
            ASSERT_EQ(KV8_OK, whole.run(*set.devices[0])) << kv8_last_error();
            std::vector<Part> chunks;  // every sequence's queries in pieces of 1 to 20, all in one batch
            for (const Part& part : whole_batch(c))
                for (int first = 0; first < part.queries;) {
                    const int queries = std::min(chance(random, 0.5) ? 1 : pick(random, 1, 20), part.queries - first);
                    chunks.push_back({part.sequence, first, queries});
                    first += queries;
                }
            AttentionBatch cut(c, chunks, make_placement(random));
            ASSERT_EQ(KV8_OK, cut.run(*set.devices[2])) << kv8_last_error();
            for (size_t chunk = 0; chunk < chunks.size(); chunk++)
                for (int query = 0; query < chunks[chunk].queries; query++)
                    for (int head = 0; head < c.q_heads; head++)
                        ASSERT_EQ(whole.result(chunks[chunk].sequence, chunks[chunk].first_query + query, head),
                                  cut.result(int(chunk), query, head))
                            << "sequence " << chunks[chunk].sequence << ", query " << chunks[chunk].first_query + query
                            << ", head " << head;
        }
    }
}

// What the first sequence gets of one plan twice, and of one that is made where a larger batch's was.
void expect_same_bits_again(const AttentionCase& c) {
    const std::vector<Part> parts = whole_batch(c), fewer(parts.begin(), parts.begin() + 1);
    for (const DeviceSet& set : device_sets())
        for (uint32_t flags : {0, int(KV8_PLAN_BATCH_INVARIANT)}) {
            SCOPED_TRACE(set.name);
            const TestDevice& device = *set.devices[0];
            const int queries = c.sequences[0].queries;
            AttentionBatch fresh(c, fewer, {}), larger(c, parts, {}), smaller(c, fewer, {});
            ASSERT_EQ(KV8_OK, fresh.run(device, flags)) << kv8_last_error();
            const std::vector<RowResult> once = results(c, fresh, 0, queries);
            ASSERT_EQ(KV8_OK, fresh.attend(device)) << kv8_last_error();
            ASSERT_EQ(once, results(c, fresh, 0, queries)) << "the second layer";
            ASSERT_EQ(KV8_OK, larger.run(device, flags)) << kv8_last_error();
            if (larger.workspace()->span().bytes < fresh.workspace()->span().bytes) continue;
            ASSERT_EQ(KV8_OK, smaller.plan(device, flags, 0, larger.workspace())) << kv8_last_error();
            ASSERT_EQ(KV8_OK, smaller.attend(device)) << kv8_last_error();
            ASSERT_EQ(once, results(c, smaller, 0, queries)) << "after a larger plan";
        }
}

// A plan serves every layer, whatever the workspace held before, be it the plan of a larger batch.
TEST(Attention, GivesTheSameBitsFromOnePlanAgainAndFromAUsedWorkspace) {
    for (int index = 0; index < std::min(rounds(40), case_count() / 4); index++) {
        const AttentionCase c = case_of_run(attention_seed() + 3, index);
        SCOPED_TRACE(name_of_case(c, index));
        ASSERT_NO_FATAL_FAILURE(expect_same_bits_again(c));
    }
}

// Where several blocks of a GPU share a text, each layer's find what they count as the plan left it.
TEST(Attention, GivesTheSameBitsAgainOfTextsThatBlocksShare) {
    for (kv8_dtype q_dtype : {KV8_F32, KV8_BF16}) {
        SCOPED_TRACE(name_of(q_dtype));
        AttentionCase c = prompt_case(1, 0, q_dtype);
        Random random(8);
        c.sequences.assign(3, {});
        for (CaseSequence& s : c.sequences) {
            s.queries = 1;
            s.keys = 3000;
            fill_sequence(random, c, 1.0, s);
        }
        ASSERT_NO_FATAL_FAILURE(expect_same_bits_again(c));
    }
}

// A hint: keys that it hides and attention sees are seen, and the other way round.
TEST(Attention, GivesTheSameBitsWhateverWindowIsPlannedFor) {
    for (int index = 0; index < case_count() / 8; index++) {
        const AttentionCase c = case_of_run(attention_seed() + 4, index);
        SCOPED_TRACE(name_of_case(c, index));
        for (const DeviceSet& set : device_sets()) {
            SCOPED_TRACE(set.name);
            AttentionBatch batch(c, whole_batch(c), {});
            ASSERT_EQ(KV8_OK, batch.run(*set.devices[2])) << kv8_last_error();
            std::vector<std::vector<RowResult>> expected;
            for (size_t s = 0; s < c.sequences.size(); s++)
                expected.push_back(results(c, batch, int(s), c.sequences[s].queries));
            for (int window : {1, c.window, 600, INT_MAX}) {
                ASSERT_EQ(KV8_OK, batch.run(*set.devices[2], KV8_PLAN_BATCH_INVARIANT, window)) << kv8_last_error();
                for (size_t s = 0; s < c.sequences.size(); s++)
                    ASSERT_EQ(expected[s], results(c, batch, int(s), c.sequences[s].queries))
                        << "sequence " << s << ", planned for a window of " << window;
            }
        }
    }
}

// Heads a gigabyte apart: offsets within a block, of V in a block and of the second block are all beyond 2^31.
TEST(Attention, ReachesBlocksThatLieFarApart) {
    for (int index = 0; index < 42; index++) {
        AttentionCase c;
        Random random(uint64_t(index) + 5);
        c.head_size = std::array<int, 7>{64, 80, 96, 112, 128, 192, 256}[size_t(index % 7)];
        c.kv_heads = 3;
        c.q_heads = 6;
        c.q_dtype = c.out_dtype = kPlain[index % 3];
        c.k.dtype = c.v.dtype = index % 2 ? KV8_E4M3FN : KV8_BF16;
        if (index % 2) c.k.scales = c.v.scales = Scales::kRowAndChannel;
        fill_chan(random, c, c.k);
        fill_chan(random, c, c.v);
        c.softmax_scale = 0.125f;
        c.sequences.resize(1);
        c.sequences[0].queries = 2;
        c.sequences[0].keys = 40;
        fill_sequence(random, c, 1.0, c.sequences[0]);
        Placement placement;
        placement.block_size = 32;
        placement.head_gap = int64_t(1) << 30;
        AttentionBatch batch(c, whole_batch(c), placement);
        for (const DeviceSet& set : device_sets()) {
            if (!set.devices[0]->info().host_accessible) GTEST_SKIP() << "the pool is too large to copy to a device";
            SCOPED_TRACE(set.name + ", " + c.describe());
            ASSERT_EQ(KV8_OK, batch.run(*set.devices[0])) << kv8_last_error();
            ASSERT_NO_FATAL_FAILURE(expect_near(c, batch, exact_rows(c), tolerance_of(*set.devices[0], c)));
        }
    }
}

// A pool has more blocks than 16 bits can name; those before them hold NaN.
TEST(Attention, ReachesBlocksOfLargeIds) {
    for (kv8_dtype q_dtype : {KV8_F32, KV8_BF16}) {
        const AttentionCase c = prompt_case(40, 0, q_dtype);
        Placement placement;
        placement.block_size = 1;
        placement.first_id = 70'000;
        AttentionBatch batch(c, whole_batch(c), placement);
        for (const DeviceSet& set : device_sets()) {
            SCOPED_TRACE(set.name + ", " + c.describe());
            ASSERT_EQ(KV8_OK, batch.run(*set.devices[0])) << kv8_last_error();
            ASSERT_NO_FATAL_FAILURE(expect_near(c, batch, exact_rows(c), tolerance_of(*set.devices[0], c)));
        }
    }
}

TEST(Attention, MatchesTheGoldens) {
    for (const char* name : {"01_d128_gqa_decode_e4m3", "09_d128_multitoken_2to8"}) {
        SCOPED_TRACE(name);
        GoldenCase golden(goldens_folder() + "/" + name);
        ASSERT_TRUE(golden.exists()) << "not found in " << goldens_folder();
        const int head_size = golden.view.head_size, q_heads = golden.integer("num_q_heads");
        for (const DeviceSet& set : device_sets())
            for (const auto& device : set.devices) {
                SCOPED_TRACE(set.name);
                kv8_attention_plan_args p = {};
                p.struct_size = sizeof(p);
                p.num_seqs = golden.integer("num_seqs");
                p.q_heads = q_heads;
                p.kv_heads = golden.view.kv_heads;
                p.head_size = head_size;
                p.query_start_loc = span_of(golden.q_start);
                p.seq_lens = span_of(golden.seq_lens);
                ASSERT_EQ(KV8_OK, run(*device, p)) << kv8_last_error();
                const DeviceMemory workspace(*device, p.workspace_bytes, 0);
                p.workspace = workspace.span();
                ASSERT_EQ(KV8_OK, run(*device, p)) << kv8_last_error();

                std::vector<float> out(golden.q.size(), NAN), lse(golden.lse.size(), NAN);
                kv8_attention_args a = {};
                a.struct_size = sizeof(a);
                a.window = golden.integer("sliding_window");
                a.softmax_scale = float(golden.number("softmax_scale"));
                a.softcap = float(golden.number("softcap"));
                a.view = &golden.view;
                a.plan = workspace.span();
                a.block_table = span_of(golden.block_table);
                a.block_table_stride = golden.integer("max_blocks_per_seq");
                a.q = {span_of(golden.q), int64_t(q_heads) * head_size * 4, head_size * 4, KV8_F32, 0};
                a.out = {span_of(out), int64_t(q_heads) * head_size * 4, head_size * 4, KV8_F32, 0};
                a.lse = span_of(lse);
                if (!golden.sinks.empty()) a.sinks = span_of(golden.sinks);
                if (!golden.slopes.empty()) a.alibi_slopes = span_of(golden.slopes);
                ASSERT_EQ(KV8_OK, run(*device, a)) << kv8_last_error();
                for (size_t i = 0; i < out.size(); i++)
                    ASSERT_TRUE(std::abs(out[i] - golden.out[i]) <= golden.number("tol_f32_rel") * golden.size[i])
                        << "out[" << i << "] is " << out[i] << ", expected " << golden.out[i];
                for (size_t i = 0; i < lse.size(); i++)
                    ASSERT_TRUE(lse[i] == golden.lse[i] ||
                                std::abs(lse[i] - golden.lse[i]) <= golden.number("tol_f32_lse_abs"))
                        << "lse[" << i << "] is " << lse[i] << ", expected " << golden.lse[i];
            }
    }
}

}  // namespace
