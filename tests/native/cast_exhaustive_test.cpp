// All 2^32 float32 inputs, all formats, all instruction sets: some minutes, so only with KV8_EXHAUSTIVE=1.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "staging.h"
#include "elements.h"
#include "exact_fp8.h"

namespace {

using namespace kv8_test;

// Rounding to nearest never decreases with its input, so two inputs with one result enclose inputs with the same result.
class Staircase {
  public:
    explicit Staircase(kv8_dtype dtype) : dtype_(dtype), points_(exact::boundaries(dtype)) {
        std::sort(points_.begin(), points_.end());
        points_.erase(std::unique(points_.begin(), points_.end()), points_.end());
        for (uint32_t sign : {0u, 0x80000000u})
            for (size_t i = 0; i < points_.size(); i++) codes_[sign != 0].push_back(code(points_[i] | sign));
    }

    // The codes of float32 [first, first + count), within one sign.
    void fill(uint32_t first, size_t count, uint8_t* codes) const {
        const uint32_t sign = first & 0x80000000u, begin = first & 0x7FFFFFFFu;
        const std::vector<uint8_t>& at_point = codes_[sign != 0];
        size_t point =
            static_cast<size_t>(std::upper_bound(points_.begin(), points_.end(), begin) - points_.begin()) - 1;
        for (size_t i = 0; i < count; point++) {
            const bool last = point + 1 == points_.size();
            if (!last && points_[point + 1] - points_[point] > 1) {
                ASSERT_EQ(at_point[point], at_point[point + 1]) << name_of(dtype_) << " changes within a step";
            }
            const size_t end = last ? count : std::min<size_t>(count, points_[point + 1] - begin);
            std::memset(codes + i, at_point[point], end - i);
            i = end;
        }
    }

  private:
    uint8_t code(uint32_t bits) const { return static_cast<uint8_t>(exact::convert(KV8_F32, dtype_, bits)); }

    kv8_dtype dtype_;
    std::vector<uint32_t> points_;  // ascending from 0 to the last NaN
    std::vector<uint8_t> codes_[2];
};

TEST(CastExhaustive, EncodesEveryFloat) {
    const char* flag = std::getenv("KV8_EXHAUSTIVE");
    if (flag == nullptr || std::strcmp(flag, "1") != 0)
        GTEST_SKIP() << "set KV8_EXHAUSTIVE=1 to cast all 2^32 float32 inputs";

    constexpr size_t kChunk = size_t{1} << 18;
    std::vector<uint32_t> src(kChunk);
    std::vector<uint8_t> dst(kChunk), want(kChunk);
    std::vector<Staircase> formats;
    for (kv8_dtype to : kFp8) formats.emplace_back(to);

    uint64_t compared = 0;
    for (uint64_t first = 0; first < uint64_t{1} << 32; first += kChunk) {
        for (size_t i = 0; i < kChunk; i++) src[i] = static_cast<uint32_t>(first + i);
        for (size_t f = 0; f < formats.size(); f++) {
            ASSERT_NO_FATAL_FAILURE(formats[f].fill(static_cast<uint32_t>(first), kChunk, want.data()));
            for (const auto& device : devices()) {
                ASSERT_EQ(run(*device, cast_args(span_of(src), KV8_F32, span_of(dst), kFp8[f], kChunk)), KV8_OK)
                    << kv8_last_error();
                const auto wrong = std::mismatch(dst.begin(), dst.end(), want.begin());
                ASSERT_EQ(wrong.first, dst.end()) << device->name() << " " << name_of(kFp8[f]) << " of float32 bits 0x"
                                                  << std::hex << src[static_cast<size_t>(wrong.first - dst.begin())]
                                                  << ": 0x" << +*wrong.first << ", exactly 0x" << +*wrong.second;
                compared += kChunk;
            }
        }
    }
    EXPECT_EQ(compared, (uint64_t{1} << 32) * formats.size() * devices().size());
}

}  // namespace
