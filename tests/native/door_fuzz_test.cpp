// Mutated arguments at the door: whatever they are, a call succeeds or is refused with a message. That nothing is touched
// beyond the spans is AddressSanitizer's to see. KV8_TEST_SEED repeats a run.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <random>
#include <type_traits>
#include <utility>
#include <vector>

#include "door_calls.h"

namespace {

using namespace kv8_test;

class Mutator {
  public:
    Mutator(const DoorCalls& calls, uint64_t seed) : calls_(calls), random_(seed) {}

    size_t below(size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random_); }

    // Changes one field of an argument struct. `legal` tells which words are addresses: these become null, move on within
    // their memory, or into another argument's, and the bytes behind them only shrink, so that a mutant never names memory
    // which is not the test's.
    template <class Args>
    void mutate(Args& args, const Args& legal) {
        constexpr size_t kWords = sizeof(Args) / 8;
        static_assert(sizeof(Args) % 8 == 0);
        uint64_t words[kWords], legal_words[kWords];
        std::memcpy(words, &args, sizeof(args));
        std::memcpy(legal_words, &legal, sizeof(legal));
        const size_t at = below(kWords);
        if (is_address(legal_words[at])) {
            const size_t other = below(kWords);
            if (other != at && is_address(legal_words[other]))
                move_into(words[at], words[at + 1], {legal_words[other], legal_words[other + 1]});
            else
                move_address(words[at], words[at + 1]);
        } else if (at > 0 && is_address(legal_words[at - 1])) {
            words[at] = below(words[at] + 1);
        } else if (is_view(legal_words[at])) {
            words[at] = 0;
        } else if (below(2)) {
            words[at] = interesting();
        } else {
            int32_t halves[2];
            std::memcpy(halves, &words[at], 8);
            halves[below(2)] = static_cast<int32_t>(interesting());
            std::memcpy(&words[at], halves, 8);
        }
        std::memcpy(&args, words, sizeof(args));
    }

    // Whether values were moved since this was last asked.
    bool has_moved_values() { return std::exchange(moved_, false); }

    // Changes one 4-byte value in memory.
    void poke(const kv8_span& span) {
        const int32_t value = static_cast<int32_t>(interesting());
        std::memcpy(reinterpret_cast<char*>(span.ptr) + 4 * below(span.bytes / 4), &value, 4);
    }

  private:
    bool is_address(uint64_t word) const { return calls_.memory_of(word).ptr != 0; }
    bool is_view(uint64_t word) const {
        return word == reinterpret_cast<uint64_t>(&calls_.view) ||
               word == reinterpret_cast<uint64_t>(&calls_.other_view);
    }

    // An argument takes its values along, but not into a plan, which only kv8_attention_plan may write.
    void move_into(uint64_t& ptr, uint64_t& bytes, const kv8_span& other) {
        const uint64_t step = std::min<uint64_t>(below(5) * 16, other.bytes);
        const uint64_t moved = std::min(bytes, other.bytes - step);
        if (ptr != 0 && other.ptr != calls_.attention.plan.ptr)
            std::memmove(reinterpret_cast<void*>(other.ptr + step), reinterpret_cast<const void*>(ptr), moved);
        ptr = other.ptr + step;
        bytes = moved;
        moved_ = true;
    }

    void move_address(uint64_t& ptr, uint64_t& bytes) {
        if (ptr == 0 || bytes == 0) return;
        const uint64_t step = below(std::min<uint64_t>(bytes, 70) + 1);
        if (below(4) == 0) {
            ptr = 0;
        } else {
            ptr += step;
            bytes -= step;
        }
    }

    uint64_t interesting() {
        static constexpr uint64_t kValues[] = {0,
                                               1,
                                               2,
                                               3,
                                               4,
                                               5,
                                               6,
                                               7,
                                               8,
                                               15,
                                               16,
                                               17,
                                               31,
                                               32,
                                               63,
                                               64,
                                               65,
                                               80,
                                               127,
                                               128,
                                               255,
                                               256,
                                               257,
                                               1024,
                                               4096,
                                               65536,
                                               0x7fffffff,
                                               0x80000000,
                                               0xffffffff,
                                               0x100000000,
                                               0x7fc00000,
                                               0x7f800000,
                                               0xff800000,
                                               0x3f800000,
                                               0x7fffffffffffffff,
                                               0x8000000000000000,
                                               0xffffffffffffffff,
                                               0xfffffffffffffffe,
                                               0xfffffffffffffff0,
                                               0x4000000000000000,
                                               0x2000000000000000,
                                               0x1000000000000000,
                                               0x0fffffffffffffff,
                                               0x3ffffffffffffffc};
        return below(4) ? kValues[below(std::size(kValues))] : random_() >> below(64);
    }

    const DoorCalls& calls_;
    std::mt19937_64 random_;
    bool moved_ = false;
};

// Memory whose contents are put back at the end.
class Restored {
  public:
    explicit Restored(const kv8_span& span) : span_(span), before_(span.bytes) {
        std::memcpy(before_.data(), reinterpret_cast<const void*>(span.ptr), span.bytes);
    }
    ~Restored() { restore(); }
    Restored(Restored&&) = default;

    void restore() const { std::memcpy(reinterpret_cast<void*>(span_.ptr), before_.data(), before_.size()); }

  private:
    kv8_span span_;
    std::vector<char> before_;
};

// A kernel's entry as the fuzzer sees it: mutates its arguments, its views, or the values that its arguments lead to.
class Kernel {
  public:
    template <class Args, class... Views>
    Kernel(const char* name, kv8_status (*function)(kv8_device*, kv8_stream*, Args*),
           const std::remove_const_t<Args>& legal, std::vector<kv8_span> values, Views... views)
        : name_(name), call_([=, &legal](const DoorCalls& calls, Mutator& mutator, int mutations) {
              std::remove_const_t<Args> args = legal;
              kv8_cache_view view = calls.view, other = calls.other_view;
              std::vector<Restored> restored(values.begin(), values.end());
              for (int i = 0; i < mutations; i++) {
                  const size_t kind = mutator.below(5);
                  if (kind == 0 && !values.empty()) {
                      mutator.poke(values[mutator.below(values.size())]);
                  } else if (kind < 3 && sizeof...(Views) > 0) {
                      mutator.below(3) ? mutator.mutate(view, calls.view) : mutator.mutate(other, calls.other_view);
                  } else {
                      mutator.mutate(args, legal);
                  }
              }
              // What still names the legal views gets their mutated copies.
              [[maybe_unused]] const auto mutated = [&](const kv8_cache_view* named) {
                  return named == &calls.view ? &view : named == &calls.other_view ? &other : nullptr;
              };
              ((args.*views = mutated(args.*views)), ...);
              return function(calls.device, nullptr, &args);
          }) {}

    const char* name() const { return name_; }
    kv8_status call_mutant(const DoorCalls& calls, Mutator& mutator, int mutations) const {
        return call_(calls, mutator, mutations);
    }

  private:
    const char* name_;
    std::function<kv8_status(const DoorCalls&, Mutator&, int)> call_;
};

std::vector<Kernel> kernels(const DoorCalls& c) {
    std::vector<Kernel> all = {
        {"cast", kv8_cast, c.cast, {}},
        {"amax", kv8_amax, c.amax, {}},
        {"write", kv8_write, c.write, {c.write.slots, c.write.rope.positions, c.view.k.chan}, &kv8_write_args::view},
        {"gather", kv8_gather, c.gather, {c.gather.slots, c.view.v.chan}, &kv8_gather_args::view},
        {"move_blocks",
         kv8_move_blocks,
         c.move_blocks,
         {c.move_blocks.pairs},
         &kv8_move_blocks_args::src,
         &kv8_move_blocks_args::dst},
        // Its values are not changed: a plan for sixty million queries is legal, and takes its time.
        {"attention_plan", kv8_attention_plan, c.plan, {}},
        {"attention",
         kv8_attention,
         c.attention,
         {c.attention.block_table, c.attention.sinks, c.attention.alibi_slopes},
         &kv8_attention_args::view},
        {"merge_states", kv8_merge_states, c.merge_states, {c.merge_states.lse_a, c.merge_states.lse_b}},
        {"matmul", kv8_matmul, c.matmul, {c.matmul.x.data}},
        {"rms_norm", kv8_rms_norm, c.rms_norm, {c.rms_norm.x.data}},
        {"rope", kv8_rope, c.rope, {c.rope.rope.positions}},
        {"gate_mul", kv8_gate_mul, c.gate_mul, {c.gate_mul.gate.data}},
        {"softcap", kv8_softcap, c.softcap, {c.softcap.x.data}},
        {"embedding", kv8_embedding, c.embedding, {c.embedding.ids}},
        {"sample", kv8_sample, c.sample, {c.sample.sampling, c.sample.logits.data}},
    };
    return all;
}

TEST(DoorFuzz, MutatedArgumentsAreServedOrRefused) {
    SCOPED_TRACE(testing::Message() << "KV8_TEST_SEED=" << seed());
    const DoorCalls calls;
    const std::vector<Kernel> all = kernels(calls);
    Mutator mutator(calls, seed());
    const int mutants = rounds(200'000);
    const std::vector<Restored> memory(calls.spans().begin(), calls.spans().end());
    std::vector<int> served(all.size()), refused(all.size());
    for (int i = 0; i < mutants; i++) {
        const size_t which = mutator.below(all.size());
        const kv8_status status = all[which].call_mutant(calls, mutator, static_cast<int>(mutator.below(4)));
        if (mutator.has_moved_values())
            for (const Restored& span : memory) span.restore();
        if (status == KV8_OK) {
            served[which]++;
            continue;
        }
        refused[which]++;
        // Products of some types are for one kind of device only.
        const bool unsupported = status == KV8_UNSUPPORTED && std::strcmp(all[which].name(), "matmul") == 0;
        ASSERT_TRUE(status == KV8_INVALID_ARGUMENT || status == KV8_BUFFER_TOO_SMALL || unsupported)
            << "mutant " << i << ", " << all[which].name() << ", gave status " << status << ": " << kv8_last_error();
        ASSERT_STRNE(kv8_last_error(), "") << "mutant " << i << ", " << all[which].name();
    }
    // Both outcomes are common for every kernel, or its mutants test nothing.
    const int least = mutants / static_cast<int>(all.size()) / 10;
    for (size_t which = 0; which < all.size(); which++) {
        EXPECT_GT(served[which], least) << all[which].name();
        EXPECT_GT(refused[which], least) << all[which].name();
    }
}

}  // namespace
