// Memory of the CPU: what is allocated, freed, filled and copied, also while other calls are under way.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "host_devices.h"

namespace {

using kv8_test::cpu;
using kv8_test::info_of;
using kv8_test::open;
using kv8_test::options;

TEST(Memory, IsAlignedCountedAndFreed) {
    kv8_device* device = open(cpu());
    std::vector<uint64_t> pointers;
    uint64_t expected = 0;
    for (uint64_t bytes : {uint64_t{1}, uint64_t{63}, uint64_t{4096}, (uint64_t{2} << 20) - 1, uint64_t{2} << 20,
                           (uint64_t{5} << 20) + 3}) {
        for (int32_t kind : {KV8_MEMORY_DEVICE, KV8_MEMORY_HOST}) {
            uint64_t ptr = 0;
            ASSERT_EQ(kv8_alloc(device, bytes, kind, &ptr), KV8_OK) << kv8_last_error();
            EXPECT_EQ(ptr % (bytes >= 2u << 20 ? 2u << 20 : 64u), 0u) << bytes;
            std::memset(reinterpret_cast<void*>(ptr), 1, bytes);
            pointers.push_back(ptr);
            expected += bytes;
        }
    }
    EXPECT_EQ(info_of(device).allocated_bytes, expected);
    ASSERT_EQ(kv8_free(device, pointers[2]), KV8_OK);
    EXPECT_EQ(info_of(device).allocated_bytes, expected - 63);
    EXPECT_REFUSED(kv8_free(device, pointers[2]), KV8_INVALID_ARGUMENT, "is not an allocation of this device");
    EXPECT_REFUSED(kv8_free(device, pointers[0] + 1), KV8_INVALID_ARGUMENT, "is not an allocation of this device");
    EXPECT_REFUSED(kv8_free(device, 0), KV8_INVALID_ARGUMENT, "ptr 0x0 is not an allocation");
    EXPECT_EQ(kv8_device_close(device), KV8_OK);  // frees the rest, as the leak check sees
}

// What the kernel was advised of the range that an address is in: two letters each, as in "rd wr hg".
std::string advice_on(uint64_t ptr) {
    std::ifstream ranges("/proc/self/smaps");
    bool within = false;
    for (std::string line; std::getline(ranges, line);) {
        unsigned long long begin = 0, end = 0;
        if (std::sscanf(line.c_str(), "%llx-%llx ", &begin, &end) == 2) within = begin <= ptr && ptr < end;
        if (within && line.rfind("VmFlags:", 0) == 0) return line;
    }
    return "no range";
}

TEST(Memory, IsOfHugePagesWhereSomeFit) {
    if (!std::filesystem::exists("/sys/kernel/mm/transparent_hugepage/enabled"))
        GTEST_SKIP() << "this kernel has no transparent huge pages";
    kv8_device* device = open(cpu());
    for (uint64_t bytes : {uint64_t{2} << 20, (uint64_t{4} << 20) + 5}) {
        uint64_t ptr = 0;
        ASSERT_EQ(kv8_alloc(device, bytes, KV8_MEMORY_DEVICE, &ptr), KV8_OK) << kv8_last_error();
        for (uint64_t at = 0; at + (2u << 20) <= bytes; at += 2u << 20)
            EXPECT_NE(advice_on(ptr + at).find(" hg"), std::string::npos)
                << at << " of " << bytes << ": " << advice_on(ptr + at);
    }
    EXPECT_EQ(kv8_device_close(device), KV8_OK);
}

TEST(Memory, OfAbsurdSizeIsRefused) {
    kv8_device* device = open(cpu());
    uint64_t ptr = 77;
    for (uint64_t bytes : {UINT64_MAX, uint64_t{1} << 62, info_of(device).memory_bytes + 1})
        EXPECT_REFUSED(kv8_alloc(device, bytes, KV8_MEMORY_DEVICE, &ptr), KV8_OUT_OF_MEMORY,
                       "bytes were asked for; this machine has");
    EXPECT_REFUSED(kv8_alloc(device, 0, KV8_MEMORY_DEVICE, &ptr), KV8_INVALID_ARGUMENT, "bytes is 0");
    EXPECT_REFUSED(kv8_alloc(device, 1, 2, &ptr), KV8_INVALID_ARGUMENT, "kind is 2");
    EXPECT_REFUSED(kv8_alloc(device, 1, -1, &ptr), KV8_INVALID_ARGUMENT, "kind is -1");
    EXPECT_REFUSED(kv8_alloc(device, 1, KV8_MEMORY_DEVICE, nullptr), KV8_INVALID_ARGUMENT, "out is null");
    EXPECT_EQ(ptr, 77u);
    EXPECT_EQ(kv8_device_close(device), KV8_OK);
}

TEST(Memory, IsCopiedAndFilledWhole) {
    kv8_device* device = open(cpu(), options(2));
    for (size_t size : {1u, 100u, 32768u, 1000003u}) {
        std::vector<uint8_t> from(size), to(size + 2, 7);
        for (size_t i = 0; i < size; i++) from[i] = static_cast<uint8_t>(i * 31);
        const kv8_span src{reinterpret_cast<uint64_t>(from.data()), size},
            dst{reinterpret_cast<uint64_t>(to.data()) + 1, size};
        ASSERT_EQ(kv8_copy(device, nullptr, dst, src), KV8_OK) << kv8_last_error();
        EXPECT_EQ(std::memcmp(to.data() + 1, from.data(), size), 0);
        ASSERT_EQ(kv8_fill(device, nullptr, dst, 9), KV8_OK) << kv8_last_error();
        for (size_t i = 1; i <= size; i++) ASSERT_EQ(to[i], 9) << i << " of " << size;
        EXPECT_EQ(to.front(), 7);
        EXPECT_EQ(to.back(), 7);
    }
    EXPECT_EQ(kv8_device_close(device), KV8_OK);
}

// A cast of 64 MiB of float32, and what of it can be seen from outside.
class LongCast {
  public:
    explicit LongCast(kv8_device* device) : device_(device), dst_(kCount) {
        EXPECT_EQ(kv8_alloc(device, kCount * 4, KV8_MEMORY_DEVICE, &src_), KV8_OK) << kv8_last_error();
        std::fill_n(reinterpret_cast<float*>(src_), kCount, 1.0f);
    }

    uint64_t src() const { return src_; }
    kv8_span dst() const { return {reinterpret_cast<uint64_t>(dst_.data()), dst_.size()}; }
    uint8_t at(size_t i) const { return __atomic_load_n(&dst_[i], __ATOMIC_ACQUIRE); }

    std::thread begin() {
        std::thread thread([this] {
            kv8_cast_args args{};
            args.struct_size = sizeof(args);
            args.scale = 1;
            args.src = {src_, kCount * 4};
            args.dst = dst();
            args.dst_dtype = KV8_E4M3FN;
            args.count = kCount;
            EXPECT_EQ(kv8_cast(device_, nullptr, &args), KV8_OK) << kv8_last_error();
        });
        while (at(0) != kOne) std::this_thread::yield();
        return thread;
    }

    static constexpr uint8_t kOne = 0x38;  // as E4M3FN
    static constexpr int64_t kCount = 16 << 20;

  private:
    kv8_device* device_;
    uint64_t src_ = 0;
    std::vector<uint8_t> dst_;
};

TEST(Memory, IsFreedWhenCallsUnderWayHaveDoneWithIt) {
    kv8_device* device = open(cpu());
    LongCast cast(device);
    std::thread caller = cast.begin();
    EXPECT_EQ(kv8_free(device, cast.src()), KV8_OK) << kv8_last_error();
    EXPECT_EQ(cast.at(LongCast::kCount - 1), LongCast::kOne) << "freed while it was read";
    caller.join();
    EXPECT_EQ(kv8_device_close(device), KV8_OK);
}

TEST(Memory, IsFilledAndCopiedInTurnWithOtherCalls) {
    kv8_device* device = open(cpu());
    LongCast cast(device);
    std::thread caller = cast.begin();
    EXPECT_EQ(kv8_fill(device, nullptr, cast.dst(), 0), KV8_OK) << kv8_last_error();
    caller.join();
    EXPECT_EQ(cast.at(LongCast::kCount - 1), 0) << "filled while it was written";
    caller = cast.begin();
    std::vector<uint8_t> copy(LongCast::kCount);
    EXPECT_EQ(kv8_copy(device, nullptr, {reinterpret_cast<uint64_t>(copy.data()), copy.size()}, cast.dst()), KV8_OK);
    EXPECT_EQ(copy.back(), LongCast::kOne) << "copied while it was written";
    caller.join();
    EXPECT_EQ(kv8_device_close(device), KV8_OK);
}

TEST(Memory, RefusesBadSpans) {
    kv8_device* device = open(cpu());
    std::vector<uint8_t> bytes(64);
    const uint64_t ptr = reinterpret_cast<uint64_t>(bytes.data());
    EXPECT_REFUSED(kv8_copy(device, nullptr, {ptr, 16}, {ptr + 32, 17}), KV8_BUFFER_TOO_SMALL,
                   "dst has 16 bytes; its shape needs 17");
    EXPECT_REFUSED(kv8_copy(device, nullptr, {ptr, 32}, {ptr + 31, 32}), KV8_INVALID_ARGUMENT, "overlap");
    EXPECT_REFUSED(kv8_copy(device, nullptr, {0, 32}, {ptr, 32}), KV8_INVALID_ARGUMENT, "dst.ptr is null");
    EXPECT_REFUSED(kv8_copy(device, nullptr, {ptr, 32}, {0, 32}), KV8_INVALID_ARGUMENT, "src.ptr is null");
    EXPECT_REFUSED(kv8_copy(device, nullptr, {ptr, 32}, {ptr + 32, UINT64_MAX}), KV8_INVALID_ARGUMENT,
                   "beyond the address space");
    EXPECT_REFUSED(kv8_fill(device, nullptr, {0, 1}, 0), KV8_INVALID_ARGUMENT, "dst.ptr is null");
    EXPECT_EQ(kv8_copy(device, nullptr, {0, 0}, {0, 0}), KV8_OK);
    EXPECT_EQ(kv8_fill(device, nullptr, {0, 0}, 0), KV8_OK);
    EXPECT_EQ(kv8_device_close(device), KV8_OK);
}

}  // namespace
