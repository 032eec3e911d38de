// Accesses to memory that is not there, not written or not aligned, each planted in a kernel.
#include <vector>

#include "emulated.h"
#include "emulator/device_memory.h"

namespace {

using kv8::emulator::device_memory;
using namespace kv8::gpu;
using namespace kv8_test;

struct SharedAccess {
    uint32_t at;
    int bytes;
    bool writes;
    uint32_t initialised;  // bytes that the thread writes first
};

template <class T>
KV8_DEVICE void access(const SharedAccess& params) {
    params.writes ? store(Shared{params.at}, T{}) : void(load<T>(Shared{params.at}));
}

KV8_KERNEL(access_shared, kLanes, 1, SharedAccess) {
    if (thread() != 3) return;
    for (uint32_t i = 0; i < params.initialised; i++) store(Shared{i}, uint8_t(0));
    switch (params.bytes) {
        case 1:
            return access<uint8_t>(params);
        case 2:
            return access<uint16_t>(params);
        case 4:
            return access<float>(params);
        case 8:
            return access<Words2>(params);
        case 16:
            return access<Words4>(params);
    }
}

TEST(SharedMemory, IsReadOnlyWhereItWasWritten) {
    for (const int bytes : {1, 2, 4, 8, 16}) {
        const uint32_t size = static_cast<uint32_t>(bytes);
        EXPECT_EQ(error_of("access_shared", SharedAccess{size, bytes, false, 2 * size}), "");
        EXPECT_ERROR(error_of("access_shared", SharedAccess{size, bytes, false, 2 * size - 1}),
                     "thread 3: reads byte " + std::to_string(2 * size - 1) + " of shared memory, which nothing wrote");
    }
}

// What a block wrote is not there for the next one.
struct Blocks {};
KV8_KERNEL(write_in_the_first_block, kLanes, 1, Blocks) {
    if (block() == (reversed() ? blocks() - 1 : 0)) store(Shared{0} + 4 * lane(), 1u);
    load<uint32_t>(Shared{0} + 4 * lane());
}

TEST(SharedMemory, IsNewInEachBlock) {
    EXPECT_EQ(error_of("write_in_the_first_block", Blocks{}), "");
    EXPECT_ERROR(error_of("write_in_the_first_block", Blocks{}, 2), "block " + std::to_string(reversed() ? 0 : 1));
    EXPECT_ERROR(error_of("write_in_the_first_block", Blocks{}, 2), "which nothing wrote");
}

TEST(SharedMemory, EndsWhereTheLaunchSays) {
    const uint32_t end = kSharedBytes;
    for (const bool writes : {true, false})
        for (const int bytes : {1, 2, 4, 8, 16}) {
            const uint32_t size = static_cast<uint32_t>(bytes);
            EXPECT_EQ(error_of("access_shared", SharedAccess{end - size, bytes, true, 0}), "");
            for (const uint32_t at : {end, end + 4096, 0u - size})
                EXPECT_ERROR(error_of("access_shared", SharedAccess{at, bytes, writes, 0}), "the block has 8192");
        }
}

TEST(SharedMemory, IsAccessedAligned) {
    for (const bool writes : {true, false})
        for (const int bytes : {2, 4, 8, 16})
            for (uint32_t at = 17; at < 16 + static_cast<uint32_t>(bytes); at++)
                EXPECT_ERROR(error_of("access_shared", SharedAccess{at, bytes, writes, 64}),
                             "which is not a multiple of " + std::to_string(bytes));
}

struct GlobalAccess {
    uint64_t at;
    int bytes;
    int how;  // 0: load, 1: store, 2: copy_async, 3: claim, 4: atomic_maximum
};

template <class T>
KV8_DEVICE void access(const GlobalAccess& params) {
    void* at = reinterpret_cast<void*>(params.at);
    if (params.how == 0) load<T>(at);
    if (params.how == 1) store(at, T{});
    if (params.how == 2) copy_async(Shared{0}, at, true), commit_copies();
    if (params.how == 3) claim(static_cast<uint32_t*>(at), 1);
    if (params.how == 4) atomic_maximum(static_cast<uint32_t*>(at), 1);
}

KV8_KERNEL(access_global, kLanes, 1, GlobalAccess) {
    if (thread() != 3) return;
    switch (params.bytes) {
        case 1:
            return access<uint8_t>(params);
        case 2:
            return access<uint16_t>(params);
        case 4:
            return access<float>(params);
        case 8:
            return access<Words2>(params);
        case 16:
            return access<Words4>(params);
    }
}

// Every way to touch memory, with its bytes.
std::vector<GlobalAccess> ways() {
    std::vector<GlobalAccess> all = {{0, 16, 2}, {0, 4, 3}, {0, 4, 4}};
    for (const int how : {0, 1})
        for (const int bytes : {1, 2, 4, 8, 16}) all.push_back({0, bytes, how});
    return all;
}

class DeviceMemory : public testing::TestWithParam<bool> {};

TEST_P(DeviceMemory, IsAccessedInsideAnAllocationOnly) {
    const uint64_t bytes = 1000, base = device_memory.allocate(bytes, GetParam());
    for (GlobalAccess access : ways()) {
        const uint64_t size = static_cast<uint64_t>(access.bytes), end = base + bytes / size * size;
        for (access.at = base; access.at < end; access.at += size) EXPECT_EQ(error_of("access_global", access), "");
        for (const uint64_t at : {base - size, end, end + 4096, base - 4096}) {
            access.at = at;
            EXPECT_ERROR(error_of("access_global", access), "at 0x");
        }
        access.at = end;
        EXPECT_ERROR(error_of("access_global", access),
                     "outside of what is allocated: byte " + std::to_string(end - base) + " of an allocation of 1000");
    }
    device_memory.release(base);
    EXPECT_ERROR(error_of("access_global", GlobalAccess{base, 4, 0}), "at 0x");
}

INSTANTIATE_TEST_SUITE_P(All, DeviceMemory, testing::Bool(),
                         [](const auto& host) { return std::string(host.param ? "Pinned" : "Device"); });

TEST(GlobalMemory, IsAccessedAligned) {
    const uint64_t base = device_memory.allocate(64, false);
    for (GlobalAccess access : ways())
        for (int off = 1; off < access.bytes; off++) {
            access.at = base + 16 + static_cast<uint64_t>(off);
            EXPECT_ERROR(error_of("access_global", access),
                         "which is not a multiple of " + std::to_string(access.bytes));
        }
    device_memory.release(base);
}

TEST(GlobalMemory, IsNotAtANullPointer) {
    for (GlobalAccess access : ways()) {
        access.at = 64;
        EXPECT_ERROR(error_of("access_global", access), "at a null pointer (0x40)");
    }
}

TEST(GlobalMemory, OfTheHostIsAccessedAsItIs) {
    alignas(16) uint32_t words[4] = {1, 2, 3, 4};
    for (GlobalAccess access : ways()) {
        access.at = reinterpret_cast<uint64_t>(words);
        EXPECT_EQ(error_of("access_global", access), "");
    }
}

// An invalid copy reads nothing, wherever it points.
struct Invalid {
    uint32_t* out;
};
KV8_KERNEL(copy_invalid, kLanes, 1, Invalid) {
    const Shared mine = Shared{0} + 16 * lane();
    copy_async(mine, reinterpret_cast<const void*>(uint64_t{1}), false);
    commit_copies();
    wait_copies<0>();
    store(params.out + lane(), load<Words4>(mine).w);
}

TEST(GlobalMemory, IsNotReadByAnInvalidCopy) {
    std::vector<uint32_t> out(kLanes, 5);
    EXPECT_EQ(error_of("copy_invalid", Invalid{out.data()}), "");
    EXPECT_EQ(out, std::vector<uint32_t>(kLanes, 0));
}

}  // namespace
