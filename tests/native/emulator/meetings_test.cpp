// What threads do together: barriers, shuffles, votes; in which order they take turns; and what happens when some of them do
// not come.
#include <vector>

#include "emulated.h"

namespace {

using namespace kv8::gpu;
using namespace kv8_test;
using kv8::emulator::shuffle;

constexpr int kThreads = 256;

struct Params {
    uint32_t* out;
    int bug;
};

KV8_KERNEL(name_threads, kThreads, 1, Params) {
    const int self = block() * kThreads + thread();
    store(params.out + self, uint32_t(blocks() << 24 | warp() << 16 | lane() << 8 | block()));
}

TEST(Threads, KnowTheirPlace) {
    constexpr int kBlocks = 3;
    std::vector<uint32_t> out(kBlocks * kThreads);
    ASSERT_EQ(error_of("name_threads", Params{out.data(), 0}, kBlocks), "");
    for (int i = 0; i < kBlocks * kThreads; i++) {
        const int thread = i % kThreads;
        EXPECT_EQ(out[static_cast<size_t>(i)],
                  static_cast<uint32_t>(kBlocks << 24 | thread / kLanes << 16 | thread % kLanes << 8 | i / kThreads));
    }
}

// Each thread takes the next number, before a warp's barrier, after it and after the block's.
KV8_KERNEL(take_turns, kThreads, 1, Params) {
    uint32_t* mine = params.out + 1 + 3 * (block() * kThreads + thread());
    const auto take = [&](int i) {
        const uint32_t next = load<uint32_t>(params.out);
        store(mine + i, next);
        store(params.out, next + 1);
    };
    take(0);
    sync_warp();
    take(1);
    sync_block();
    take(2);
}

TEST(Threads, TakeTurnsInOneOrder) {
    constexpr int kBlocks = 2, kWarps = kThreads / kLanes;
    std::vector<uint32_t> out(1 + 3 * kBlocks * kThreads);
    ASSERT_EQ(error_of("take_turns", Params{out.data(), 0}, kBlocks), "");
    uint32_t next = 0;
    const auto at = [](int i, int count) { return reversed() ? count - 1 - i : i; };
    const auto expect_turns = [&](int block, int warp, int part) {
        for (int l = 0; l < kLanes; l++) {
            const int self = block * kThreads + warp * kLanes + at(l, kLanes);
            EXPECT_EQ(out[static_cast<size_t>(1 + 3 * self + part)], next++);
        }
    };
    for (int b = 0; b < kBlocks; b++) {
        for (int w = 0; w < kWarps; w++)
            for (const int part : {0, 1}) expect_turns(at(b, kBlocks), at(w, kWarps), part);
        for (int w = 0; w < kWarps; w++) expect_turns(at(b, kBlocks), at(w, kWarps), 2);
    }
}

KV8_KERNEL(exchange, kThreads, 1, Params) {
    uint32_t* mine = params.out + 4 * thread();
    store(mine, shuffle(uint32_t(thread()), (lane() * 5 + 3) % kLanes));
    store(mine + 1, uint32_t(shuffle_xor(float(thread()), kLanes / 2)));
    store(mine + 2, uint32_t(any_lane(thread() == 70)));
    store(mine + 3, uint32_t(-shuffle_xor(-thread(), 1)));
}

TEST(Lanes, ExchangeWhatTheyHold) {
    std::vector<uint32_t> out(4 * kThreads);
    ASSERT_EQ(error_of("exchange", Params{out.data(), 0}), "");
    for (int t = 0; t < kThreads; t++) {
        const int lane = t % kLanes, first = t - lane;
        const uint32_t* mine = &out[static_cast<size_t>(4 * t)];
        EXPECT_EQ(mine[0], static_cast<uint32_t>(first + (lane * 5 + 3) % kLanes));
        EXPECT_EQ(mine[1], static_cast<uint32_t>(t ^ (kLanes / 2)));
        EXPECT_EQ(mine[2], static_cast<uint32_t>(first / kLanes == 70 / kLanes));
        EXPECT_EQ(mine[3], static_cast<uint32_t>(t ^ 1));
    }
}

constexpr int kOdd = 100;  // the thread that goes its own way

KV8_KERNEL(diverge, kThreads, 1, Params) {
    const bool odd = thread() == kOdd;
    uint32_t a[8] = {}, b[8] = {};
    float c[8] = {};
    switch (params.bug) {
        case 0:
            if (odd) return;
            sync_block();
            break;
        case 1:
            if (odd)
                sync_block();
            else
                sync_block();
            break;
        case 2:
            if (odd) sync_warp();
            sync_block();
            break;
        case 3:
            if (!odd) sync_block();
            break;
        case 4:
            if (!odd) shuffle(1u, 0);
            break;
        case 5:
            if (odd)
                shuffle(1u, 0);
            else
                shuffle(1u, 0);
            break;
        case 6:
            if (odd)
                any_lane(true);
            else
                shuffle(1u, 0);
            break;
        case 7:
            shuffle(1u, odd ? kLanes : 0);
            break;
        case 8:
            shuffle(1u, odd ? -1 : 0);
            break;
        case 9:
            for (int i = 0; i < (odd ? 3 : 4); i++) shuffle(1u, 0);
            sync_block();
            break;
        case 10:
            if (odd) break;
            if constexpr (kMatrixUnit == MatrixUnit::kMma) {
                float sums[4] = {};
                const uint32_t words[4] = {};
                mma_f16(sums, words, 0, 0);
            } else if constexpr (kMatrixUnit == MatrixUnit::kMfma) {
                float sums[4] = {};
                mfma_f16(sums, Words2{}, Words2{});
            } else if constexpr (kMatrixUnit == MatrixUnit::kWmma3) {
                wmma_f16(c, a, b);
            } else {
                const uint32_t words[4] = {};
                wmma_f16(c, words, words);
            }
            break;
        case 11:
            if (warp() == 1) return;  // a whole warp
            sync_block();
            break;
    }
}

TEST(Divergence, IsFoundAtEveryMeeting) {
    const struct {
        int bug;
        const char* error;
    } all[] = {
        {0, "waits at sync_block, but thread 100 has ended"},
        {1, "waits at sync_block, but thread "},
        {2, "sync_warp"},
        {3, "waits at sync_block, but thread 100 has ended"},
        {4, "waits at shuffle, but thread 100 has ended"},
        {5, "waits at shuffle, but thread "},
        {6, "any_lane"},
        {7, "thread 100: shuffles from lane "},
        {8, "thread 100: shuffles from lane -1"},
        {9, "waits at "},
        {10, "but thread 100 has ended"},
        {11, "waits at sync_block, but thread "},
    };
    for (const auto& each : all) {
        SCOPED_TRACE(each.bug);
        const std::string error = error_of("diverge", Params{nullptr, each.bug});
        EXPECT_ERROR(error, each.error);
        EXPECT_ERROR(error, "(meetings_test.cpp:");
    }
}

TEST(Divergence, LeavesTheNextLaunchAlone) {
    std::vector<uint32_t> out(4 * kThreads);
    EXPECT_ERROR(error_of("diverge", Params{nullptr, 4}), "has ended");
    EXPECT_EQ(error_of("exchange", Params{out.data(), 0}), "");
    EXPECT_ERROR(error_of("diverge", Params{nullptr, 0}), "has ended");
    EXPECT_EQ(error_of("exchange", Params{out.data(), 0}), "");
}

struct Selector {
    uint32_t selector;
};
KV8_KERNEL(permute, kLanes, 1, Selector) { permute_bytes(0, 0, params.selector); }

TEST(PermuteBytes, TakesFourNibblesOfThreeBits) {
    EXPECT_EQ(error_of("permute", Selector{0x7654}), "");
    for (const uint32_t selector : {0x8000u, 0x0800u, 0x0080u, 0x0008u, 0x10000u})
        EXPECT_ERROR(error_of("permute", Selector{selector}), "not four nibbles of 0 to 7");
}

}  // namespace
