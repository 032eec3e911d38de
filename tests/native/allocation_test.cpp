// A warm CPU device allocates nothing in a step's calls, nor do its workers: counted in every way that the native code has to
// allocate.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <new>

#include "attention_batch.h"

namespace {
std::atomic<int64_t> allocations;

void* counted(size_t alignment, size_t bytes) {
    allocations++;
    return aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}
void* counted_or_throw(size_t alignment, size_t bytes) {
    void* const memory = counted(alignment, bytes + (bytes == 0));
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}
}  // namespace

// The forms that do not throw call these, and so do the array forms unless a sanitizer has its own. GCC warns of them where it sees
// into one of a pair alone.
[[gnu::noinline]] void* operator new(size_t bytes) { return counted_or_throw(alignof(std::max_align_t), bytes); }
[[gnu::noinline]] void* operator new(size_t bytes, std::align_val_t alignment) {
    return counted_or_throw(size_t(alignment), bytes);
}
[[gnu::noinline]] void* operator new[](size_t bytes) { return operator new(bytes); }
[[gnu::noinline]] void operator delete[](void* memory) noexcept { operator delete(memory); }
[[gnu::noinline]] void operator delete[](void* memory, size_t) noexcept { operator delete(memory); }
[[gnu::noinline]] void operator delete(void* memory) noexcept { free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept { free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t, std::align_val_t) noexcept { free(memory); }
extern "C" int posix_memalign(void** memory, size_t alignment, size_t bytes) noexcept {
    *memory = counted(alignment, bytes);
    return *memory == nullptr ? ENOMEM : 0;
}

namespace {

using namespace kv8_test;

// A step of decode tokens and a chunk of a prompt, with rows to be written for them.
class Step {
  public:
    Step(const TestDevice& device, kv8_dtype q_dtype, Scales scales)
        : device_(device),
          case_(make_case(q_dtype, scales)),
          batch_(case_, whole_batch(case_), {}),
          rows_(size_t(kTokens * case_.kv_heads * case_.head_size), 1.5f),
          codes_(rows_.size()) {
        EXPECT_EQ(KV8_OK, batch_.plan(device)) << kv8_last_error();
        attend_ = batch_.args();
        plan_.struct_size = sizeof(plan_);
        plan_.num_seqs = int32_t(case_.sequences.size());
        plan_.q_heads = case_.q_heads;
        plan_.kv_heads = case_.kv_heads;
        plan_.head_size = case_.head_size;
        plan_.query_start_loc = span_of(starts_);
        plan_.seq_lens = span_of(lens_);
        plan_.workspace = attend_.plan;

        write_.struct_size = sizeof(write_);
        write_.tokens = kTokens;
        write_.view = attend_.view;
        write_.k = {span_of(rows_), case_.kv_heads * case_.head_size * 4, case_.head_size * 4, KV8_F32, 0};
        write_.v = write_.k;
        write_.slots = span_of(slots_);

        gather_.struct_size = sizeof(gather_);
        gather_.tokens = kTokens;
        gather_.view = attend_.view;
        gather_.k = gather_.v = write_.k;
        gather_.slots = write_.slots;

        move_.struct_size = sizeof(move_);
        move_.count = 1;
        move_.src = move_.dst = attend_.view;
        move_.pairs = span_of(pairs_);

        cast_.struct_size = sizeof(cast_);
        cast_.scale = 0.5f;
        cast_.src = span_of(rows_);
        cast_.dst = span_of(codes_);
        cast_.src_dtype = KV8_F32;
        cast_.dst_dtype = KV8_E4M3FN;
        cast_.count = int64_t(codes_.size());
    }

    // Allocations of each of the calls.
    void expect_none() {
        expect_none("kv8_attention_plan", [&] { return kv8_attention_plan(device_.handle(), nullptr, &plan_); });
        expect_none("kv8_write", [&] { return kv8_write(device_.handle(), nullptr, &write_); });
        expect_none("kv8_attention", [&] { return kv8_attention(device_.handle(), nullptr, &attend_); });
        expect_none("kv8_gather", [&] { return kv8_gather(device_.handle(), nullptr, &gather_); });
        expect_none("kv8_move_blocks", [&] { return kv8_move_blocks(device_.handle(), nullptr, &move_); });
        expect_none("kv8_cast", [&] { return kv8_cast(device_.handle(), nullptr, &cast_); });
    }

  private:
    static constexpr int kTokens = 64;

    static AttentionCase make_case(kv8_dtype q_dtype, Scales scales) {
        AttentionCase c;
        c.q_heads = 8;
        c.kv_heads = 2;
        c.q_dtype = c.out_dtype = q_dtype;
        c.k.dtype = c.v.dtype = KV8_E4M3FN;
        c.k.scales = c.v.scales = scales;
        Random random(3);
        fill_chan(random, c, c.k);
        fill_chan(random, c, c.v);
        c.sequences.resize(3);
        c.sequences[0].keys = 3000;  // over several items, which are combined
        c.sequences[1].keys = 300;
        c.sequences[2].keys = 600;
        for (CaseSequence& s : c.sequences) {
            s.queries = s.keys == 600 ? 70 : 1;
            fill_sequence(random, c, 1, s);
        }
        return c;
    }

    template <class Call>
    static void expect_none(const char* name, const Call& call) {
        for (int warm : {0, 1, 2}) {
            const int64_t before = allocations;
            ASSERT_EQ(KV8_OK, call()) << name << ": " << kv8_last_error();
            if (warm > 0) {
                ASSERT_EQ(before, allocations) << name;
            }
        }
    }

    const TestDevice& device_;
    const AttentionCase case_;
    AttentionBatch batch_;
    std::vector<float> rows_;
    std::vector<uint8_t> codes_;
    const std::vector<int32_t> starts_{0, 1, 2, 72}, lens_{3000, 300, 600}, pairs_{0, 1};
    const std::vector<int64_t> slots_ = [] {
        std::vector<int64_t> slots;
        for (int token = 0; token < kTokens; token++) slots.push_back(token);
        return slots;
    }();
    kv8_attention_plan_args plan_ = {};
    kv8_attention_args attend_ = {};
    kv8_write_args write_ = {};
    kv8_gather_args gather_ = {};
    kv8_move_blocks_args move_ = {};
    kv8_cast_args cast_ = {};
};

TEST(Allocation, IsNotPartOfAWarmCall) {
    if (!devices().front()->shares_memory()) GTEST_SKIP() << "a device's own memory is copied to and from";
    for (const auto& device : devices())
        for (kv8_dtype q_dtype : {KV8_F32, KV8_BF16})
            for (Scales scales : {Scales::kChannel, Scales::kRow}) {
                SCOPED_TRACE(device->name() + ", q " + name_of(q_dtype) + ", scales by " + name_of(scales));
                Step step(*device, q_dtype, scales);
                ASSERT_NO_FATAL_FAILURE(step.expect_none());
            }
}

// What is not counted would not be found.
TEST(Allocation, IsCounted) {
    const int64_t before = allocations;
    operator delete(operator new(1));
    EXPECT_EQ(before + 1, allocations);
    operator delete[](operator new[](100));
    EXPECT_EQ(before + 2, allocations);
    kv8_device* const device = devices().front()->handle();
    uint64_t ptr = 0;
    ASSERT_EQ(KV8_OK, kv8_alloc(device, 100, KV8_MEMORY_DEVICE, &ptr)) << kv8_last_error();
    EXPECT_LE(before + 3, allocations);
    ASSERT_EQ(KV8_OK, kv8_free(device, ptr));
}

}  // namespace
