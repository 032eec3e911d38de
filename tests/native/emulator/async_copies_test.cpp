// Asynchronous copies arrive at the wait that they are due at, and not before; what a kernel does too early is an error.
#include <vector>

#include "emulated.h"

namespace {

using namespace kv8::gpu;
using namespace kv8_test;

constexpr int kThreads = 128;

struct Params {
    uint32_t* data;  // [kThreads][4]
    int bug;
};

KV8_DEVICE Shared place(int stage, int of) { return Shared{0} + (stage * kThreads + of) * 16; }

// Two stages, with everything in order but for one bug.
KV8_KERNEL(pipeline, kThreads, 1, Params) {
    const int self = thread(), other = (thread() + kLanes) % kThreads;
    const uint32_t* from = params.data + 4 * self;
    for (int stage = 0; stage < 2; stage++) {
        copy_async(place(stage, self), from, true);
        commit_copies();
    }
    if (params.bug == 2) load<uint32_t>(place(0, self));
    if (params.bug == 3) store(place(0, self), 0u);
    if (params.bug == 4) copy_async(place(0, self), from, true);
    wait_copies<1>();
    load<uint32_t>(place(0, self));
    if (params.bug == 5) load<uint32_t>(place(1, self));
    if (params.bug == 6) load<uint32_t>(place(0, other));
    sync_block();
    load<uint32_t>(place(0, other));
    if (params.bug != 7) sync_block();
    copy_async(place(0, self), from, true);
    commit_copies();
    sync_block();
    if (params.bug == 8) load<uint32_t>(place(0, other));
    wait_copies<0>();
    sync_block();
    load<uint32_t>(place(0, other));
    load<uint32_t>(place(1, other));
    sync_block();
    if (params.bug == 1) copy_async(place(0, self), from, true);
    if (params.bug == 9) copy_async(place(0, self) + 8, from, true);
    if (params.bug == 10) copy_async(place(0, self), from + 1, true);
}

TEST(AsyncCopies, AreOrderedByTheirWaitAndABarrier) {
    std::vector<Words4> words(kThreads);
    uint32_t* data = &words[0].x;
    EXPECT_EQ(error_of("pipeline", Params{data, 0}, 2), "");
    // A thread's place is its own: the byte is the one of the thread that comes first.
    const std::string under_way = " byte " + std::to_string(reversed() ? 16 * (kThreads - 1) : 0) +
                                  " of shared memory, the target of an asynchronous copy of thread ";
    const struct {
        int bug;
        std::string error;
    } all[] = {
        {1, "ends with asynchronous copies that it never committed"},
        {2, "reads" + under_way},
        {3, "writes" + under_way},
        {4, "writes" + under_way},
        {5, "the target of an asynchronous copy of thread "},
        {6, " of shared memory, "},  // not begun, under way or not ordered: as the order of lanes has it
        {7, " of shared memory, "},
        {8, "the target of an asynchronous copy of thread "},
        {9, "which is not a multiple of 16"},
        {10, "which is not a multiple of 16"},
    };
    for (const auto& each : all) {
        SCOPED_TRACE(each.bug);
        EXPECT_ERROR(error_of("pipeline", Params{data, each.bug}), each.error);
    }
}

struct Late {
    uint32_t* data;  // 4 words
    uint32_t* out;
};

KV8_KERNEL(copy_what_changes, kLanes, 1, Late) {
    if (lane() != 0) return;
    copy_async(Shared{0}, params.data, true);
    commit_copies();
    store(params.data, 2u);
    wait_copies<0>();
    store(params.out, load<uint32_t>(Shared{0}));
}

TEST(AsyncCopies, ReadTheirSourceAsLateAsTheyMay) {
    alignas(16) uint32_t data[4] = {1, 1, 1, 1};
    uint32_t out = 0;
    EXPECT_EQ(error_of("copy_what_changes", Late{data, &out}), "");
    EXPECT_EQ(out, 2u);
}

// A copy that nobody waits for harms neither its own block nor the next.
KV8_KERNEL(never_wait, kLanes, 1, Late) {
    if (block() == (reversed() ? 1 : 0)) {
        copy_async(Shared{0} + 16 * lane(), params.data, true);
        commit_copies();
    } else {
        store(Shared{0} + 4 * lane(), 1u);
        load<uint32_t>(Shared{0} + 4 * lane());
    }
}

KV8_KERNEL(never_wait_with_many_threads, kThreads, 1, Late) {
    copy_async(Shared{0} + 16 * (kThreads - 1 - thread()), params.data, true);
    commit_copies();
}

TEST(AsyncCopies, MayBeLeftUnderWayWhenABlockEnds) {
    alignas(16) uint32_t data[4] = {};
    EXPECT_EQ(error_of("never_wait", Late{data, nullptr}, 2), "");
    EXPECT_EQ(error_of("never_wait_with_many_threads", Late{data, nullptr}), "");
    EXPECT_EQ(error_of("never_wait", Late{data, nullptr}, 2), "");
}

TEST(AsyncCopies, AreForgottenWhenALaunchFails) {
    std::vector<Words4> data(kThreads);
    EXPECT_ERROR(error_of("pipeline", Params{&data[0].x, 2}), "under way");
    EXPECT_EQ(error_of("pipeline", Params{&data[0].x, 0}), "");
}

// A group whose copies begin when they are given, or when the group is committed, as the architecture has it.
KV8_KERNEL(keep_a_group, kLanes, 1, Params) {
    Copies<2> group;
    for (int i = 0; i < 2; i++)
        if (i == 0 || params.bug != 1) copy_async(group, i, place(i, lane()), params.data, true);
    if (params.bug == 2) copy_async(group, 1, place(1, lane()), params.data, true);
    commit_copies(group);
    if (params.bug == 3) load<uint32_t>(place(0, lane()));
    wait_copies<0>();
    for (int i = 0; i < 2; i++) store(params.data + 4 + i, load<uint32_t>(place(i, lane())));
}

TEST(AsyncCopies, AreKeptInGroups) {
    alignas(16) uint32_t data[6] = {7, 7, 7, 7};
    EXPECT_EQ(error_of("keep_a_group", Params{data, 0}), "");
    EXPECT_EQ(data[4], 7u);
    EXPECT_EQ(data[5], 7u);
    EXPECT_ERROR(error_of("keep_a_group", Params{data, 3}), "the target of an asynchronous copy");
    EXPECT_ERROR(error_of("keep_a_group", Params{data, 1}), "commits a group of copies without its copy 1");
    EXPECT_ERROR(error_of("keep_a_group", Params{data, 2}), "gives copy 1 of a group of 2");
}

}  // namespace
