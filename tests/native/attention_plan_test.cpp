// How a batch is shared out over threads: that every key is in one item, and that no thread waits for another's item.
#include "cpu/attention_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <queue>
#include <string>
#include <tuple>

#include "test_devices.h"

namespace {

using namespace kv8_test;
using kv8::cpu::AttentionItem;
using kv8::cpu::AttentionPlan;
using kv8::cpu::kSplitKeys;

struct Text {
    int32_t queries, keys;
};

struct Step {
    int q_heads, kv_heads, window;
    std::vector<Text> texts;
    int group() const { return q_heads / kv_heads; }
};

// A key costs its products with the rows, and as much as four of them to be loaded and converted.
constexpr int kRowsOfKey = 4;

// A step's plan, and what its items cost when attention has the window that was planned for.
class Planned {
  public:
    Planned(const Step& step, int threads) : step_(step), threads_(threads) {
        std::vector<int32_t> starts{0}, lens;
        for (const Text& text : step.texts) {
            starts.push_back(starts.back() + text.queries);
            lens.push_back(text.keys);
        }
        kv8_attention_plan_args args = {};
        args.struct_size = sizeof(args);
        args.num_seqs = int32_t(step.texts.size());
        args.q_heads = step.q_heads;
        args.kv_heads = step.kv_heads;
        args.head_size = 128;
        args.window = step.window;
        args.query_start_loc = span_of(starts);
        args.seq_lens = span_of(lens);
        kv8::cpu::plan_attention(args, threads);
        workspace_.reset(new uint64_t[args.workspace_bytes / sizeof(uint64_t) + 1]);
        args.workspace = {reinterpret_cast<uint64_t>(workspace_.get()), args.workspace_bytes};
        kv8::cpu::plan_attention(args, threads);
    }

    const AttentionPlan& plan() const { return *reinterpret_cast<const AttentionPlan*>(workspace_.get()); }

    int64_t work(const AttentionItem& item) const {
        const Text& text = step_.texts[size_t(item.sequence)];
        const int64_t position = int64_t(text.keys) - text.queries + item.first_query;
        const int64_t window_first = step_.window > 0 ? position - step_.window + 1 : 0;
        const int64_t first = std::max<int64_t>({window_first, int64_t(item.first_split) * kSplitKeys, 0});
        const int64_t last = std::min(position + item.queries, int64_t(item.first_split + item.splits) * kSplitKeys);
        return std::max<int64_t>(last - first, 0) * item.kv_heads * (item.queries * step_.group() + kRowsOfKey);
    }

    int64_t total() const {
        int64_t sum = 0;
        for (int64_t i = 0; i < plan().items; i++) sum += work(plan().item(i));
        return sum;
    }

    // Threads take the items in order as they come free: what the last one to finish has done.
    int64_t longest_thread() const {
        std::priority_queue<int64_t, std::vector<int64_t>, std::greater<>> busy_until;
        for (int thread = 0; thread < threads_; thread++) busy_until.push(0);
        int64_t last = 0;
        for (int64_t i = 0; i < plan().items; i++) {
            const int64_t end = busy_until.top() + work(plan().item(i));
            busy_until.pop();
            busy_until.push(end);
            last = std::max(last, end);
        }
        return last;
    }

    // One KV head's keys of one split with the rows of a tile, which nothing cuts: the most of all items.
    int64_t largest_piece() const {
        int64_t largest = 0;
        for (int64_t i = 0; i < plan().items; i++) {
            AttentionItem piece = plan().item(i);
            piece.kv_heads = 1;
            const int32_t end = piece.first_split + piece.splits;
            for (piece.splits = 1; piece.first_split < end; piece.first_split++)
                largest = std::max(largest, work(piece));
        }
        return largest;
    }

    // Pieces of that kind that have keys: no more items could.
    int64_t pieces() const {
        int64_t count = 0;
        for (int64_t i = 0; i < plan().items; i++) {
            AttentionItem piece = plan().item(i);
            const int32_t end = piece.first_split + piece.splits;
            for (piece.splits = 1; piece.first_split < end; piece.first_split++)
                count += work(piece) > 0 ? piece.kv_heads : 0;
        }
        return count;
    }

    int64_t items_with_keys() const {
        int64_t count = 0;
        for (int64_t i = 0; i < plan().items; i++) count += work(plan().item(i)) > 0;
        return count;
    }

    // Nothing is left out or computed twice, whatever window attention has.
    void expect_whole() const {
        using Rows = std::tuple<int, int, int, int, int>;  // sequence, KV heads, queries
        std::map<Rows, std::vector<std::pair<int, int>>> splits;
        for (int64_t i = 0; i < plan().items; i++) {
            const AttentionItem& item = plan().item(i);
            splits[{item.sequence, item.first_kv_head, item.kv_heads, item.first_query, item.queries}].emplace_back(
                item.first_split, item.splits);
        }
        std::vector<int64_t> rows(step_.texts.size());
        for (auto& tile : splits) {
            const auto [sequence, first_head, heads, first_query, queries] = tile.first;
            const Text& text = step_.texts[size_t(sequence)];
            const int keys = std::max(text.keys - text.queries + first_query + queries, 0);
            std::sort(tile.second.begin(), tile.second.end());
            int end = 0;
            for (const auto& [first, count] : tile.second) {
                ASSERT_EQ(end, first) << "sequence " << sequence << ", query " << first_query;
                end += count;
            }
            ASSERT_EQ((keys + kSplitKeys - 1) / kSplitKeys, end)
                << "sequence " << sequence << ", query " << first_query;
            ASSERT_LE(first_head + heads, step_.kv_heads);
            rows[size_t(sequence)] += int64_t(heads) * queries;
        }
        for (size_t s = 0; s < rows.size(); s++)
            ASSERT_EQ(int64_t(step_.kv_heads) * step_.texts[s].queries, rows[s]) << "sequence " << s;
    }

  private:
    const Step& step_;
    const int threads_;
    std::unique_ptr<uint64_t[]> workspace_;  // not zeroed: most of it is for results, which there are none of
};

// That threads finish at about the same time, as far as pieces that nothing cuts allow, and that all have something to do.
void expect_balanced(const Step& step, int threads) {
    SCOPED_TRACE(std::to_string(threads) + " threads, " + std::to_string(step.q_heads) + "/" +
                 std::to_string(step.kv_heads) + " heads, window " + std::to_string(step.window) + ", " +
                 std::to_string(step.texts.size()) + " texts, the first of " + std::to_string(step.texts[0].keys));
    const Planned planned(step, threads);
    ASSERT_NO_FATAL_FAILURE(planned.expect_whole());
    const double fair = double(planned.total()) / threads;
    EXPECT_LE(double(planned.longest_thread()), fair + std::max(fair / 4, double(planned.largest_piece())));
    EXPECT_GE(planned.items_with_keys(), std::min<int64_t>(threads, planned.pieces()));
}

constexpr int kThreads[] = {1, 2, 3, 4, 8, 13, 16, 32, 64};

std::vector<Text> short_texts(int count, int keys) { return std::vector<Text>(size_t(count), Text{1, keys}); }

TEST(AttentionPlan, SharesOutOneLongText) {
    for (int threads : kThreads)
        for (int keys : {1, 511, 513, 4096, 65'536})
            for (const auto& [q_heads, kv_heads] : {std::pair{32, 8}, {32, 32}, {8, 1}, {40, 1}, {28, 4}})
                expect_balanced({q_heads, kv_heads, 0, {{1, keys}}}, threads);
}

TEST(AttentionPlan, SharesOutUnequalTexts) {
    for (int threads : kThreads)
        for (int kv_heads : {1, 8})
            for (int keys : {16, 40, 512, 2000}) {
                Step step{32, kv_heads, 0, short_texts(300, keys)};
                expect_balanced(step, threads);
                for (int longest : {512, 65'536}) {
                    step.texts[7].keys = longest;
                    expect_balanced(step, threads);
                }
            }
}

TEST(AttentionPlan, SharesOutPromptsBesideDecode) {
    for (int threads : kThreads)
        for (int kv_heads : {1, 8}) {
            Step step{32, kv_heads, 0, short_texts(12, 3000)};
            step.texts.push_back({2048, 2048});
            step.texts.push_back({300, 40'000});
            step.texts.push_back({5, 20'000});
            step.texts.push_back({8, 3});
            expect_balanced(step, threads);
        }
}

TEST(AttentionPlan, SharesOutWhatAWindowLeavesToSee) {
    for (int threads : kThreads)
        for (int window : {1, 100, 512, 4096, 20'000, 40'000}) {
            expect_balanced({32, 8, window, {{1, 32'768}}}, threads);
            expect_balanced({32, 8, window, {{1, 32'768}, {1, 100}, {1, 9000}, {1, 32'500}}}, threads);
            expect_balanced({32, 8, window, {{700, 20'000}}}, threads);
        }
}

TEST(AttentionPlan, MakesNoItemOfWhatAWindowHides) {
    for (int threads : kThreads) {
        const Step step{32, 8, 4096, {{1, 65'536}, {1, 500}, {40, 30'000}}};
        const Planned planned(step, threads);
        EXPECT_EQ(planned.plan().items, planned.items_with_keys()) << threads << " threads";
    }
}

}  // namespace
