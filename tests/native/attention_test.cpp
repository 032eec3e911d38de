// Paged attention through the public door, on every instruction set of this machine: against float64 over generated
// cases and the goldens, bit for bit against itself however the batch, the cache and the prompt are cut, and what it
// refuses.
#include <gtest/gtest.h>

#include <array>

#include "attention_reference.h"
#include "golden_case.h"

namespace {

using namespace kv8_test;

// This run's seed: KV8_TEST_SEED, else a new one; it is printed either way.
uint64_t attention_seed() {
    static const uint64_t value = [] {
        const uint64_t drawn = std::getenv("KV8_TEST_SEED") != nullptr ? seed() : std::random_device{}();
        printf("attention cases: KV8_TEST_SEED=%llu\n", (unsigned long long)drawn);
        return drawn;
    }();
    return value;
}

int case_count() {
    const char* given = std::getenv("KV8_ATTENTION_CASES");
    return given != nullptr ? std::atoi(given) : 560;
}

std::string name_of_case(const AttentionCase& c, int index) {
    return "KV8_TEST_SEED=" + std::to_string(attention_seed()) + " case " + std::to_string(index) + ": " + c.describe();
}

// Devices of one instruction set with 1, 2 and 4 threads.
struct Isa {
    std::string name;
    std::array<std::unique_ptr<CpuDevice>, 3> devices;
};

const std::vector<Isa>& isas() {
    static const auto* all = [] {
        auto* list = new std::vector<Isa>;
        for (const auto& device : cpu_devices()) {
            Isa isa{device->isa(), {}};
            const int threads[] = {1, 2, 4};
            for (size_t i = 0; i < 3; i++)
                isa.devices[i] = std::make_unique<CpuDevice>(device->isa().c_str(), threads[i]);
            list->push_back(std::move(isa));
        }
        return list;
    }();
    return *all;
}

// All rows of a part.
std::vector<RowResult> results(const AttentionCase& c, const AttentionBatch& batch, int part, int queries) {
    std::vector<RowResult> rows;
    for (int query = 0; query < queries; query++)
        for (int head = 0; head < c.q_heads; head++) rows.push_back(batch.result(part, query, head));
    return rows;
}

TEST(Attention, IsNearFloat64OverGeneratedCases) {
    ASSERT_GE(case_count(), 1);
    for (int index = 0; index < case_count(); index++) {
        const AttentionCase c = make_case(attention_seed(), index);
        SCOPED_TRACE(name_of_case(c, index));
        Random random(attention_seed() + uint64_t(index));
        const Placement placement = make_placement(random);
        const int plan_window = chance(random, 0.5) ? c.window : 0;
        std::vector<std::vector<ExactRow>> exact;
        for (const CaseSequence& s : c.sequences) {
            const ExactSequence sequence(c, s);
            exact.emplace_back();
            for (int query = 0; query < s.queries; query++)
                for (int head = 0; head < c.q_heads; head++) exact.back().push_back(sequence.row(query, head));
        }
        AttentionBatch batch(c, whole_batch(c), placement);
        for (const Isa& isa : isas()) {
            SCOPED_TRACE(isa.name);
            ASSERT_EQ(KV8_OK, batch.run(isa.devices[size_t(index % 3)]->handle(), plan_window)) << kv8_last_error();
            for (size_t s = 0; s < c.sequences.size(); s++)
                for (size_t row = 0; row < exact[s].size(); row++) {
                    const int query = int(row) / c.q_heads, head = int(row) % c.q_heads;
                    const std::string wrong = difference(c, batch.result(int(s), query, head), exact[s][row]);
                    ASSERT_EQ("", wrong) << "sequence " << s << ", query " << query << ", head " << head
                                         << ", block size " << placement.block_size;
                }
            ASSERT_TRUE(batch.gaps_untouched());
        }
    }
}

TEST(Attention, GivesTheSameBitsInAnyBatchPlacementAndThreadCount) {
    for (int index = 0; index < case_count() / 8; index++) {
        const AttentionCase c = make_case(attention_seed() + 1, index);
        SCOPED_TRACE(name_of_case(c, index));
        for (const Isa& isa : isas()) {
            SCOPED_TRACE(isa.name);
            Random random(attention_seed() + uint64_t(index));
            AttentionBatch together(c, whole_batch(c), make_placement(random));
            ASSERT_EQ(KV8_OK, together.run(isa.devices[0]->handle())) << kv8_last_error();
            AttentionBatch elsewhere(c, whole_batch(c), make_placement(random));
            for (size_t device : {1, 2}) {
                ASSERT_EQ(KV8_OK, elsewhere.run(isa.devices[device]->handle())) << kv8_last_error();
                for (size_t s = 0; s < c.sequences.size(); s++)
                    ASSERT_EQ(results(c, together, int(s), c.sequences[s].queries),
                              results(c, elsewhere, int(s), c.sequences[s].queries))
                        << "sequence " << s << " in other blocks with " << (device == 1 ? 2 : 4) << " threads";
            }
            for (size_t s = 0; s < c.sequences.size(); s++) {
                AttentionBatch alone(c, {{int(s), 0, c.sequences[s].queries}}, make_placement(random));
                ASSERT_EQ(KV8_OK, alone.run(isa.devices[2]->handle())) << kv8_last_error();
                ASSERT_EQ(results(c, together, int(s), c.sequences[s].queries),
                          results(c, alone, 0, c.sequences[s].queries))
                    << "sequence " << s << " alone";
            }
        }
    }
}

TEST(Attention, GivesTheSameBitsHoweverAPromptIsCutIntoChunks) {
    for (int index = 0; index < case_count() / 8; index++) {
        const AttentionCase c = make_case(attention_seed() + 2, index);
        SCOPED_TRACE(name_of_case(c, index));
        for (const Isa& isa : isas()) {
            SCOPED_TRACE(isa.name);
            Random random(attention_seed() + uint64_t(index));
            AttentionBatch whole(c, whole_batch(c), make_placement(random));
            ASSERT_EQ(KV8_OK, whole.run(isa.devices[0]->handle())) << kv8_last_error();
            std::vector<Part> chunks;  // every sequence's queries in pieces of 1 to 20, all in one batch
            for (const Part& part : whole_batch(c))
                for (int first = 0; first < part.queries;) {
                    const int queries = std::min(chance(random, 0.5) ? 1 : pick(random, 1, 20), part.queries - first);
                    chunks.push_back({part.sequence, first, queries});
                    first += queries;
                }
            AttentionBatch cut(c, chunks, make_placement(random));
            ASSERT_EQ(KV8_OK, cut.run(isa.devices[2]->handle())) << kv8_last_error();
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

// One prompt, every row of which is computed in one call.
AttentionCase prompt_case(int keys, int window) {
    AttentionCase c;
    c.q_heads = 4;
    c.kv_heads = 2;
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

TEST(Attention, ANanInTheCacheReachesOnlyTheQueriesThatSeeIt) {
    for (int window : {0, 5, 20})
        for (int poisoned : {0, 3, 16, 37})
            for (bool in_v : {false, true})
                for (const Isa& isa : isas()) {
                    const AttentionCase clean = prompt_case(70, window);
                    AttentionCase dirty = clean;
                    CaseSequence& s = dirty.sequences[0];
                    const size_t row = size_t(clean.kv_heads) * clean.head_size;
                    std::fill_n((in_v ? s.v : s.k).begin() + std::ptrdiff_t(poisoned * row), row, 0x7Fu);
                    AttentionBatch before(clean, whole_batch(clean), {}), after(dirty, whole_batch(dirty), {});
                    ASSERT_EQ(KV8_OK, before.run(isa.devices[0]->handle())) << kv8_last_error();
                    ASSERT_EQ(KV8_OK, after.run(isa.devices[0]->handle())) << kv8_last_error();
                    for (int query = 0; query < 70; query++)
                        for (int head = 0; head < 4; head++) {
                            SCOPED_TRACE(isa.name + ", window " + std::to_string(window) + ", NaN in key " +
                                         std::to_string(poisoned) + ", query " + std::to_string(query));
                            if (query >= poisoned && (window == 0 || query - poisoned < window))
                                for (uint32_t element : after.result(0, query, head).out)
                                    ASSERT_TRUE(std::isnan(value_of(KV8_F32, element)));
                            else
                                ASSERT_EQ(before.result(0, query, head), after.result(0, query, head));
                        }
                }
}

TEST(Attention, MatchesTheGoldens) {
    for (const char* name : {"01_d128_gqa_decode_e4m3", "09_d128_multitoken_2to8"}) {
        SCOPED_TRACE(name);
        GoldenCase golden(goldens_folder() + "/" + name);
        ASSERT_TRUE(golden.exists()) << "not found in " << goldens_folder();
        const int head_size = golden.view.head_size, q_heads = golden.integer("num_q_heads");
        for (const Isa& isa : isas())
            for (const auto& device : isa.devices) {
                SCOPED_TRACE(isa.name);
                kv8_attention_plan_args p = {};
                p.struct_size = sizeof(p);
                p.num_seqs = golden.integer("num_seqs");
                p.q_heads = q_heads;
                p.kv_heads = golden.view.kv_heads;
                p.head_size = head_size;
                p.query_start_loc = span_of(golden.q_start);
                p.seq_lens = span_of(golden.seq_lens);
                ASSERT_EQ(KV8_OK, kv8_attention_plan(device->handle(), nullptr, &p)) << kv8_last_error();
                const Bytes workspace(p.workspace_bytes);
                p.workspace = workspace.span();
                ASSERT_EQ(KV8_OK, kv8_attention_plan(device->handle(), nullptr, &p)) << kv8_last_error();

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
                ASSERT_EQ(KV8_OK, kv8_attention(device->handle(), nullptr, &a)) << kv8_last_error();
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

TEST(Attention, ScoresBeyondFloatExpNeitherOverflowNorVanish) {
    AttentionCase c = prompt_case(600, 0);
    c.softmax_scale = 40;  // scores of some hundreds: float32's e^x ends at 88
    CaseSequence& s = c.sequences[0];
    for (const Isa& isa : isas()) {
        AttentionBatch batch(c, whole_batch(c), {});
        ASSERT_EQ(KV8_OK, batch.run(isa.devices[1]->handle())) << kv8_last_error();
        const ExactSequence exact(c, s);
        for (int query = 0; query < s.queries; query += 13)
            for (int head = 0; head < c.q_heads; head++) {
                const RowResult got = batch.result(0, query, head);
                const ExactRow want = exact.row(query, head);
                // Scores themselves have a rounding of about 1e-4 here, and weights below float32's range are 0.
                for (size_t d = 0; d < want.out.size(); d++)
                    ASSERT_TRUE(std::abs(value_of(KV8_F32, got.out[d]) - want.out[d]) <= 5e-3 * want.size[d] + 1e-36)
                        << isa.name << ", query " << query << ", head " << head << ": " << value_of(KV8_F32, got.out[d])
                        << ", exactly " << want.out[d] << ", lse " << got.lse << ", exactly " << want.lse;
                ASSERT_TRUE(std::abs(got.lse - want.lse) <= 1e-6 * std::abs(want.lse) + 1e-3) << isa.name;
            }
    }
}

TEST(Attention, RefusesTableEntriesOfVisibleKeysThatNameNoBlock) {
    AttentionCase c = prompt_case(100, 20);
    c.sequences[0].queries = 1;  // sees keys 80 to 99: blocks 5 and 6 of 16
    kv8_device* const device = isas()[0].devices[0]->handle();
    for (int entry = 0; entry < 8; entry++)
        for (int32_t id : {-1, INT_MIN, INT_MAX, -2}) {
            AttentionBatch batch(c, whole_batch(c), {});
            batch.table()[size_t(entry)] = id == -2 ? batch.view().num_blocks : id;
            const bool visible = entry == 5 || entry == 6;
            ASSERT_EQ(visible ? KV8_INVALID_ARGUMENT : KV8_OK, batch.run(device)) << "entry " << entry << ", id " << id;
            if (!visible) continue;
            const std::string named = "entry " + std::to_string(entry) + " of sequence 0";
            EXPECT_NE(std::string::npos, std::string(kv8_last_error()).find(named)) << kv8_last_error();
        }
}

TEST(Attention, RefusesAWorkspaceThatHoldsNoPlanOrAnotherOne) {
    const AttentionCase c = prompt_case(40, 0);
    kv8_device* const device = isas()[0].devices[0]->handle();
    AttentionBatch batch(c, whole_batch(c), {});
    ASSERT_EQ(KV8_OK, batch.plan(device, 0));
    kv8_attention_args a = batch.args();
    a.plan.bytes = 64;
    EXPECT_EQ(KV8_INVALID_ARGUMENT, kv8_attention(device, nullptr, &a));
    EXPECT_NE(std::string::npos, std::string(kv8_last_error()).find("kv8_attention_plan")) << kv8_last_error();

    AttentionCase wider = c;
    wider.head_size = 128;
    wider.k.chan.assign(size_t(wider.kv_heads) * 128, 1.0f);
    wider.v.chan = wider.k.chan;
    Random random(9);
    fill_sequence(random, wider, 1.0, wider.sequences[0]);
    AttentionBatch other(wider, whole_batch(wider), {});
    ASSERT_EQ(KV8_OK, other.plan(device, 0));
    a = batch.args();
    a.plan = other.workspace().span();
    EXPECT_EQ(KV8_INVALID_ARGUMENT, kv8_attention(device, nullptr, &a)) << "a plan for another head size";

    a = batch.args();
    a.q.data.bytes -= 4;
    EXPECT_EQ(KV8_BUFFER_TOO_SMALL, kv8_attention(device, nullptr, &a));
    std::memset(batch.workspace().data(), 0, batch.workspace().size());
    EXPECT_EQ(KV8_INVALID_ARGUMENT, batch.attend(device));
}

TEST(AttentionPlan, RefusesValuesThatAreNoBatch) {
    kv8_device* const device = isas()[0].devices[0]->handle();
    const auto plan = [&](std::vector<int32_t> starts, std::vector<int32_t> lens) {
        kv8_attention_plan_args p = {};
        p.struct_size = sizeof(p);
        p.num_seqs = int32_t(lens.size());
        p.q_heads = p.kv_heads = 2;
        p.head_size = 64;
        p.query_start_loc = span_of(starts);
        p.seq_lens = span_of(lens);
        return kv8_attention_plan(device, nullptr, &p);
    };
    EXPECT_EQ(KV8_OK, plan({0, 1, 1, 4}, {5, 0, 9}));
    EXPECT_EQ(KV8_OK, plan({0}, {}));
    EXPECT_EQ(KV8_INVALID_ARGUMENT, plan({1, 2}, {5}));
    EXPECT_EQ(KV8_INVALID_ARGUMENT, plan({0, 3, 2}, {5, 5}));
    EXPECT_NE(std::string::npos, std::string(kv8_last_error()).find("sequence 1")) << kv8_last_error();
    EXPECT_EQ(KV8_INVALID_ARGUMENT, plan({0, 1}, {-1}));
}

TEST(AttentionPlan, RefusesAWorkspaceThatIsTooSmall) {
    kv8_device* const device = isas()[0].devices[0]->handle();
    const std::vector<int32_t> starts = {0, 1}, lens = {2000};
    kv8_attention_plan_args p = {};
    p.struct_size = sizeof(p);
    p.num_seqs = 1;
    p.q_heads = p.kv_heads = 2;
    p.head_size = 64;
    p.query_start_loc = span_of(starts);
    p.seq_lens = span_of(lens);
    ASSERT_EQ(KV8_OK, kv8_attention_plan(device, nullptr, &p));
    const uint64_t needed = p.workspace_bytes;
    const Bytes workspace(needed - 1);
    p.workspace = workspace.span();
    EXPECT_EQ(KV8_BUFFER_TOO_SMALL, kv8_attention_plan(device, nullptr, &p));
    EXPECT_EQ(needed, p.workspace_bytes);
}

}  // namespace
