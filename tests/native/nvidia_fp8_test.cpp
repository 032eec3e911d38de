// kv8_cast against the host functions of NVIDIA's cuda_fp8.hpp, where the build finds that header in a CUDA toolkit. Without
// it nothing here is compiled but one skipped test that says so; exact arithmetic, in cast_test.cpp, covers the same inputs.
#include <gtest/gtest.h>

#if __has_include(<cuda_fp8.h>)

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#include <cuda_fp8.h>
#pragma GCC diagnostic pop

#include <random>

#include "staging.h"
#include "elements.h"
#include "exact_fp8.h"

namespace {

using namespace kv8_test;

__nv_fp8_interpretation_t interpretation(kv8_dtype dtype) { return dtype == KV8_E4M3FN ? __NV_E4M3 : __NV_E5M2; }

uint32_t nvidia(kv8_dtype from, kv8_dtype to, uint32_t bits) {
    if (from == KV8_F16)
        return __nv_cvt_halfraw_to_fp8({static_cast<unsigned short>(bits)}, __NV_SATFINITE, interpretation(to));
    if (from == KV8_BF16)
        return __nv_cvt_bfloat16raw_to_fp8({static_cast<unsigned short>(bits)}, __NV_SATFINITE, interpretation(to));
    return __nv_cvt_float_to_fp8(float_of(bits), __NV_SATFINITE, interpretation(to));
}

void expect_nvidias_codes(kv8_dtype from, kv8_dtype to, const std::vector<uint32_t>& values) {
    const Elements src(from, values);
    for (const auto& device : devices()) {
        const Elements dst(to, values.size());
        ASSERT_EQ(run(*device, cast_args(src.span(), from, dst.span(), to, values.size())), KV8_OK) << kv8_last_error();
        for (size_t i = 0; i < values.size(); i++)
            ASSERT_EQ(dst.at(i), nvidia(from, to, values[i]))
                << device->name() << ": " << name_of(from) << " 0x" << std::hex << values[i] << " to " << name_of(to);
    }
}

TEST(NvidiaFp8, EncodesEverySixteenBitPatternAlike) {
    std::vector<uint32_t> values(1 << 16);
    for (uint32_t i = 0; i < values.size(); i++) values[i] = i;
    for (kv8_dtype from : {KV8_F16, KV8_BF16})
        for (kv8_dtype to : {KV8_E4M3FN, KV8_E5M2}) expect_nvidias_codes(from, to, values);
}

TEST(NvidiaFp8, EncodesFloatsAlike) {
    std::mt19937 random(static_cast<uint32_t>(seed()));
    SCOPED_TRACE(testing::Message() << "seed " << seed());
    for (kv8_dtype to : {KV8_E4M3FN, KV8_E5M2}) {
        std::vector<uint32_t> values;
        for (uint32_t bits : exact::boundaries(to)) {
            values.push_back(bits);
            values.push_back(bits | 0x80000000u);
        }
        for (int i = 0; i < 300'000; i++) values.push_back(static_cast<uint32_t>(random()));
        expect_nvidias_codes(KV8_F32, to, values);
    }
}

// NVIDIA's decoding goes to float16, which holds every value of both formats; NaN patterns are not compared.
TEST(NvidiaFp8, DecodesEveryCodeAlike) {
    std::vector<uint32_t> codes(256);
    for (uint32_t i = 0; i < codes.size(); i++) codes[i] = i;
    for (kv8_dtype from : {KV8_E4M3FN, KV8_E5M2}) {
        const Elements src(from, codes);
        for (const auto& device : devices()) {
            const Elements dst(KV8_F16, codes.size());
            ASSERT_EQ(run(*device, cast_args(src.span(), from, dst.span(), KV8_F16, codes.size())), KV8_OK)
                << kv8_last_error();
            for (uint32_t code : codes) {
                const uint32_t theirs =
                    __nv_cvt_fp8_to_halfraw(static_cast<__nv_fp8_storage_t>(code), interpretation(from)).x;
                if ((theirs & 0x7FFF) > 0x7C00) {
                    EXPECT_GT(dst.at(code) & 0x7FFF, 0x7C00u)
                        << device->name() << " " << name_of(from) << " code " << code;
                } else {
                    EXPECT_EQ(dst.at(code), theirs) << device->name() << " " << name_of(from) << " code " << code;
                }
            }
        }
    }
}

}  // namespace

#else

TEST(NvidiaFp8, IsComparedWhereItsHeaderIsInstalled) {
    GTEST_SKIP()
        << "cuda_fp8.h was not found when the tests were built: the comparison with NVIDIA's host functions is left "
           "out. Install a CUDA toolkit, or set CUDA_HOME, and configure again.";
}

#endif
