// Copies past the caches: every alignment and size around a cache line, and calls that are large enough to make them.
#include "cpu/stream_copy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "test_devices.h"

namespace {

using namespace kv8_test;

TEST(StreamCopy, CopiesEverySizeToEveryAlignmentAndNothingElse) {
    std::vector<uint8_t> source(400);
    for (size_t i = 0; i < source.size(); i++) source[i] = uint8_t(i * 7 + 1);
    for (int to = 0; to < 64; to++)
        for (int from : {0, 1, 8, 63})
            for (int size = 0; size <= 260; size += size < 4 ? 1 : 16 + to % 3) {
                std::vector<uint8_t> target(size_t(to + size + 64), 0xEE), wanted = target;
                std::copy_n(source.begin() + from, size, wanted.begin() + to);
                kv8::cpu::stream_copy(target.data() + to, source.data() + from, size);
                kv8::cpu::finish_stream();
                ASSERT_EQ(wanted, target) << size << " bytes from " << from << " to " << to;
            }
}

TEST(StreamCopy, LargeCopiesAndCastsGiveTheBytesOfSmallOnes) {
    const size_t count = size_t(kv8::cpu::kStreamedBytes) / 4 + 1001;  // a float32 each
    std::vector<uint8_t> codes(count + 3);
    for (size_t i = 0; i < codes.size(); i++) codes[i] = uint8_t(i * 2654435761u >> 13);
    for (const auto& device : devices()) {
        if (!device->shares_memory()) GTEST_SKIP() << "copies to and from a device are other code";
        SCOPED_TRACE(device->name());
        std::vector<float> whole(count + 4, 5), pieces = whole, copied = whole;
        const auto cast = [&](size_t first, size_t size, std::vector<float>& out) {
            kv8_cast_args args = {};
            args.struct_size = sizeof(args);
            args.scale = 0.37f;
            args.src = {reinterpret_cast<uint64_t>(codes.data() + 3 + first), size};
            args.dst = {reinterpret_cast<uint64_t>(out.data() + 1 + first), size * 4};
            args.src_dtype = KV8_E4M3FN;
            args.dst_dtype = KV8_F32;
            args.count = int64_t(size);
            ASSERT_EQ(KV8_OK, kv8_cast(device->handle(), nullptr, &args)) << kv8_last_error();
        };
        cast(0, count, whole);
        for (size_t first = 0; first < count; first += 100'003)
            cast(first, std::min<size_t>(100'003, count - first), pieces);
        ASSERT_EQ(0, std::memcmp(whole.data(), pieces.data(), whole.size() * 4));
        const kv8_span from = {reinterpret_cast<uint64_t>(whole.data() + 1), count * 4};
        const kv8_span to = {reinterpret_cast<uint64_t>(copied.data() + 1), count * 4};
        ASSERT_EQ(KV8_OK, kv8_copy(device->handle(), nullptr, to, from)) << kv8_last_error();
        ASSERT_EQ(0, std::memcmp(whole.data(), copied.data(), whole.size() * 4));
    }
}

}  // namespace
