// The choice between attention kernels by their speed, with a clock that stands still unless they move it.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "cpu/attention_probe.h"
#include "cpu/isa.h"

namespace {

using namespace kv8::cpu;

double clock_time;
double clock_now() { return clock_time; }

uint64_t no_scratch(const AttentionPlan&) { return 64; }

// Kernels that take so many thousandths of a second for an item, and the first time a hundred times as many.
template <int Milliseconds>
AttentionKernels taking() {
    static bool is_warm;
    is_warm = false;
    AttentionKernels kernels{};
    kernels.scratch_bytes = no_scratch;
    kernels.item = [](const kv8_attention_args&, const AttentionPlan&, int64_t, void*) {
        clock_time += Milliseconds * (is_warm ? 1e-3 : 0.1);
        is_warm = true;
    };
    return kernels;
}

TEST(AttentionProbe, prefers_kernels_that_take_less_than_four_fifths_of_the_time) {
    EXPECT_TRUE(is_clearly_faster(taking<79>(), taking<100>(), clock_now));
    EXPECT_FALSE(is_clearly_faster(taking<81>(), taking<100>(), clock_now));
    EXPECT_FALSE(is_clearly_faster(taking<100>(), taking<50>(), clock_now));
}

const Kernels* timed;
int64_t items;

// The step that is timed has to be a legal one for every set of kernels.
TEST(AttentionProbe, times_a_step_that_every_set_of_kernels_computes) {
    for (const char* isa : {"scalar", "avx2", "avx512", "avx512_bf16", "neon", "neon_bf16"}) {
        try {
            timed = &choose_kernels(isa);
        } catch (...) {
            continue;  // not for this processor
        }
        items = 0;
        clock_time = 0;
        AttentionKernels counted = *timed->attention;
        counted.item = [](const kv8_attention_args& args, const AttentionPlan& plan, int64_t item, void* scratch) {
            timed->attention->item(args, plan, item, scratch);
            const auto* out = reinterpret_cast<const uint16_t*>(args.out.data.ptr);
            // All scores differ, all values are positive and below 448.
            for (int i = 0; i < plan.q_heads * plan.head_size; i++) {
                ASSERT_GT(out[i], 0) << timed->isa;
                ASSERT_LT(out[i], 0x43E0) << timed->isa;
            }
            items++;
            clock_time += 1;
        };
        EXPECT_FALSE(is_clearly_faster(counted, counted, clock_now));
        EXPECT_GT(items, 2) << isa;
    }
}

}  // namespace
