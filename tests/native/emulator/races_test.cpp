// Accesses to shared memory that nothing orders, each planted in a kernel, and next to it the same accesses in order.
#include "emulated.h"

namespace {

using namespace kv8::gpu;
using namespace kv8_test;
using kv8::emulator::shuffle;

constexpr int kThreads = 128;

struct Params {
    bool ordered;
};

// The thread that each one looks at: of the same warp, or of another.
KV8_DEVICE int neighbour() { return thread() ^ 1; }
KV8_DEVICE int stranger() { return (thread() + kLanes) % kThreads; }
KV8_DEVICE Shared word(int i) { return Shared{0} + 4 * i; }

KV8_KERNEL(read_a_strangers_word, kThreads, 1, Params) {
    store(word(thread()), 0u);
    sync_block();
    store(word(thread()), uint32_t(thread()));
    if (params.ordered) sync_block();
    load<uint32_t>(word(stranger()));
}

KV8_KERNEL(read_a_neighbours_word, kThreads, 1, Params) {
    store(word(thread()), 0u);
    sync_block();
    store(word(thread()), uint32_t(thread()));
    if (params.ordered) sync_warp();
    load<uint32_t>(word(neighbour()));
}

KV8_KERNEL(order_strangers_by_their_warps, kThreads, 1, Params) {
    store(word(thread()), 0u);
    sync_block();
    store(word(thread()), uint32_t(thread()));
    params.ordered ? sync_block() : sync_warp();
    load<uint32_t>(word(stranger()));
}

KV8_KERNEL(order_neighbours_by_a_shuffle, kThreads, 1, Params) {
    store(word(thread()), 0u);
    sync_block();
    store(word(thread()), uint32_t(thread()));
    shuffle(0, 0);
    if (params.ordered) sync_warp();
    load<uint32_t>(word(neighbour()));
}

KV8_KERNEL(all_write_one_word, kThreads, 1, Params) {
    if (!params.ordered || thread() == 0) store(word(0), 1u);
}

KV8_KERNEL(write_what_others_have_read, kThreads, 1, Params) {
    if (thread() == 5) store(word(0), 1u);
    sync_block();
    load<uint32_t>(word(0));
    if (params.ordered) sync_block();
    if (thread() == 5) store(word(0), 2u);
}

KV8_KERNEL(write_what_the_warp_has_read, kThreads, 1, Params) {
    if (warp() != 1) return;
    if (lane() == 5) store(word(0), 1u);
    sync_warp();
    load<uint32_t>(word(0));
    if (params.ordered) sync_warp();
    if (lane() == 5) store(word(0), 2u);
}

// A byte each, in one word: no race. The last one writes its neighbour's too.
KV8_KERNEL(write_bytes, kThreads, 1, Params) {
    store(Shared{0} + thread(), uint8_t(1));
    if (!params.ordered && thread() == 77) store(Shared{0} + 76, uint16_t(1));
}

KV8_KERNEL(read_a_neighbours_byte_with_its_own, kThreads, 1, Params) {
    if (thread() == 8) store(Shared{0} + 16, Words4{});
    sync_block();
    if (thread() == 9) store(Shared{0} + 31, uint8_t(1));
    if (params.ordered) sync_block();
    if (thread() == 8) load<Words4>(Shared{0} + 16);
}

TEST(Races, AreFoundWhereTwoThreadsAccessesHaveNoBarrierBetweenThem) {
    for (const char* kernel : {"read_a_strangers_word", "read_a_neighbours_word", "order_strangers_by_their_warps",
                               "order_neighbours_by_a_shuffle", "all_write_one_word", "write_what_others_have_read",
                               "write_what_the_warp_has_read", "write_bytes", "read_a_neighbours_byte_with_its_own"}) {
        SCOPED_TRACE(kernel);
        EXPECT_EQ(error_of(kernel, Params{true}, 2), "");
        const std::string error = error_of(kernel, Params{false}, 2);
        EXPECT_ERROR(error, std::string("kernel ") + kernel + " of test");
        EXPECT_ERROR(error, "with no barrier between the two (races_test.cpp:");
        EXPECT_ERROR(error, reversed() ? "block 1" : "block 0");
    }
}

TEST(Races, AreNamedByTheThreadsAndTheByte) {
    const std::string all = error_of("all_write_one_word", Params{false});
    EXPECT_ERROR(all, reversed() ? "thread 126: writes byte 0 of shared memory, written by thread 127"
                                 : "thread 1: writes byte 0 of shared memory, written by thread 0");
    EXPECT_ERROR(error_of("write_what_others_have_read", Params{false}),
                 "writes byte 0 of shared memory, read by thread ");
    EXPECT_ERROR(error_of("read_a_neighbours_byte_with_its_own", Params{false}), "byte 31 of shared memory");
}

struct Rounds {
    int rounds;
    bool barriers_of_the_block;
    int bug;  // 1: reads what nothing wrote, 2: a race
};

// More barriers than stamps can tell apart.
KV8_KERNEL(many_barriers, kLanes, 1, Rounds) {
    store(word(lane()), 7u);
    for (int i = 0; i < params.rounds; i++) params.barriers_of_the_block ? sync_block() : sync_warp();
    if (load<uint32_t>(word(lane() ^ 1)) != 7u) store(static_cast<void*>(nullptr), 0u);
    sync_block();
    if (params.bug == 1) load<uint32_t>(word(lane() + kLanes));
    if (params.bug == 2) store(word(lane() / 2), 8u);
}

TEST(Races, AreFoundHoweverManyBarriersWerePassed) {
    constexpr int kRounds = 300000;
    EXPECT_EQ(error_of("many_barriers", Rounds{kRounds, true, 0}, 2), "");
    EXPECT_ERROR(error_of("many_barriers", Rounds{kRounds, true, 1}), "which nothing wrote");
    EXPECT_ERROR(error_of("many_barriers", Rounds{kRounds, true, 2}), "with no barrier between the two");
    EXPECT_ERROR(error_of("many_barriers", Rounds{2 * kRounds, false, 0}),
                 "more warp barriers between two of the block");
}

}  // namespace
