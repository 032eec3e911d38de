// The conversions as kernels call them: every code, every 16-bit float, and every boundary of float32, against exact arithmetic
// that shares nothing with them, and FP8 against the one definition as well.
#include <cstdlib>

#include "emulated.h"
#include "exact_fp8.h"
#include "fp8/fp8.h"

namespace {

using namespace kv8::gpu;
using namespace kv8_test;
using kv8::fp8::bits_of;
using kv8::fp8::float_of;

// What one thread computed of one input.
struct Work {
    const uint32_t* in;
    uint32_t* out;
    int count;
    int what;
};

enum What { kWidenF16, kWidenBf16, kNarrowF16, kNarrowBf16, kPackF16, kPackBf16, kWidenFp8, kNarrowFp8 };

template <class Format>
KV8_DEVICE uint32_t widen_codes(uint32_t codes);
template <>
KV8_DEVICE uint32_t widen_codes<kv8::fp8::E4M3FN>(uint32_t codes) {
    return widen_e4m3fn(codes);
}
template <>
KV8_DEVICE uint32_t widen_codes<kv8::fp8::E5M2>(uint32_t codes) {
    return widen_e5m2(codes);
}
template <>
KV8_DEVICE uint32_t widen_codes<kv8::fp8::E4M3FNUZ>(uint32_t codes) {
    return widen_e4m3fnuz(codes);
}
template <>
KV8_DEVICE uint32_t widen_codes<kv8::fp8::E5M2FNUZ>(uint32_t codes) {
    return widen_e5m2fnuz(codes);
}
template <class Format>
KV8_DEVICE uint32_t narrow_pair(float low, float high);
template <>
KV8_DEVICE uint32_t narrow_pair<kv8::fp8::E4M3FN>(float low, float high) {
    return narrow_e4m3fn(low, high);
}
template <>
KV8_DEVICE uint32_t narrow_pair<kv8::fp8::E5M2>(float low, float high) {
    return narrow_e5m2(low, high);
}
template <>
KV8_DEVICE uint32_t narrow_pair<kv8::fp8::E4M3FNUZ>(float low, float high) {
    return narrow_e4m3fnuz(low, high);
}
template <>
KV8_DEVICE uint32_t narrow_pair<kv8::fp8::E5M2FNUZ>(float low, float high) {
    return narrow_e5m2fnuz(low, high);
}

// A pair's other half holds 1, to be found where it belongs.
template <class Format>
KV8_DEVICE uint32_t converted(int what, uint32_t x) {
    switch (what) {
        case kWidenF16:
            return bits_of(widen_f16(uint16_t(x)));
        case kWidenBf16:
            return bits_of(widen_bf16(uint16_t(x)));
        case kNarrowF16:
            return narrow_f16(float_of(x));
        case kNarrowBf16:
            return narrow_bf16(float_of(x));
        case kPackF16:
            return pack_f16(float_of(x), 1.0f);
        case kPackBf16:
            return pack_bf16(1.0f, float_of(x));
        case kWidenFp8:
            return widen_codes<Format>(x);
        case kNarrowFp8:
            return narrow_pair<Format>(float_of(x), -float_of(x));
    }
    return 0;
}

template <class Format>
KV8_DEVICE void convert_all(const Work& work) {
    for (int i = thread(); i < work.count; i += kLanes)
        store(work.out + i, converted<Format>(work.what, load<uint32_t>(work.in + i)));
}

KV8_KERNEL(convert_e4m3fn, kLanes, 1, Work) { convert_all<kv8::fp8::E4M3FN>(params); }
KV8_KERNEL(convert_e5m2, kLanes, 1, Work) { convert_all<kv8::fp8::E5M2>(params); }
KV8_KERNEL(convert_e4m3fnuz, kLanes, 1, Work) { convert_all<kv8::fp8::E4M3FNUZ>(params); }
KV8_KERNEL(convert_e5m2fnuz, kLanes, 1, Work) { convert_all<kv8::fp8::E5M2FNUZ>(params); }

std::vector<uint32_t> run(const char* kernel, What what, const std::vector<uint32_t>& in) {
    std::vector<uint32_t> out(in.size());
    EXPECT_EQ(error_of(kernel, Work{in.data(), out.data(), static_cast<int>(in.size()), what}), "");
    return out;
}

std::vector<uint32_t> numbers_below(uint32_t end) {
    std::vector<uint32_t> all(end);
    for (uint32_t i = 0; i < end; i++) all[i] = i;
    return all;
}

// Of both signs: every float32 next to which a format's rounding changes.
std::vector<uint32_t> boundaries_of(kv8_dtype dtype) {
    std::vector<uint32_t> points = exact::boundaries(dtype);
    const size_t positive = points.size();
    for (size_t i = 0; i < positive; i++) points.push_back(points[i] | 0x80000000u);
    return points;
}

bool is_nan_of(kv8_dtype dtype, uint32_t bits) {
    return exact::decode(exact::format_of(dtype), bits).kind == exact::Number::kNan;
}

TEST(Conversions, WidenEvery16BitFloat) {
    const struct {
        What what;
        kv8_dtype dtype;
    } all[] = {{kWidenF16, KV8_F16}, {kWidenBf16, KV8_BF16}};
    const std::vector<uint32_t> in = numbers_below(0x10000);
    for (const auto& each : all) {
        const std::vector<uint32_t> out = run("convert_e5m2", each.what, in);
        for (uint32_t x : in) {
            if (is_nan_of(each.dtype, x))
                EXPECT_TRUE(is_nan_of(KV8_F32, out[x])) << std::hex << x;
            else
                EXPECT_EQ(out[x], exact::convert(each.dtype, KV8_F32, x)) << std::hex << x;
        }
    }
}

TEST(Conversions, NarrowTo16Bits) {
    const struct {
        What narrow, pack;
        kv8_dtype dtype;
        uint32_t one;
        int shift;
    } all[] = {{kNarrowF16, kPackF16, KV8_F16, 0x3C000000u, 0}, {kNarrowBf16, kPackBf16, KV8_BF16, 0x3F80u, 16}};
    for (const auto& each : all) {
        const std::vector<uint32_t> in = boundaries_of(each.dtype);
        const std::vector<uint32_t> narrow = run("convert_e5m2", each.narrow, in),
                                    pair = run("convert_e5m2", each.pack, in);
        for (size_t i = 0; i < in.size(); i++) {
            EXPECT_EQ(narrow[i], exact::convert(KV8_F32, each.dtype, in[i])) << std::hex << in[i];
            EXPECT_EQ(pair[i], narrow[i] << each.shift | each.one) << std::hex << in[i];
        }
    }
}

template <class Format>
void expect_fp8(const char* kernel, kv8_dtype dtype, bool has) {
    SCOPED_TRACE(kernel);
    if (!has) {
        uint32_t x = 0;
        EXPECT_ERROR(error_of(kernel, Work{&x, &x, 1, kWidenFp8}), "which this architecture lacks");
        EXPECT_ERROR(error_of(kernel, Work{&x, &x, 1, kNarrowFp8}), "which this architecture lacks");
        return;
    }
    const std::vector<uint32_t> codes = numbers_below(0x10000);
    const std::vector<uint32_t> widened = run(kernel, kWidenFp8, codes);
    for (uint32_t pair : codes)
        for (int half = 0; half < 2; half++) {
            const uint8_t code = static_cast<uint8_t>(pair >> (8 * half));
            const uint32_t f16 = widened[pair] >> (16 * half) & 0xFFFF;
            if (kv8::fp8::is_nan<Format>(code))
                ASSERT_TRUE(is_nan_of(KV8_F16, f16)) << std::hex << pair;
            else
                ASSERT_EQ(f16, exact::convert(dtype, KV8_F16, code)) << std::hex << pair;
        }
    const std::vector<uint32_t> in = boundaries_of(dtype);
    const std::vector<uint32_t> narrow = run(kernel, kNarrowFp8, in);
    for (size_t i = 0; i < in.size(); i++) {
        const float x = float_of(in[i]);
        EXPECT_EQ(narrow[i] & 0xFF, exact::convert(KV8_F32, dtype, in[i])) << std::hex << in[i];
        EXPECT_EQ(narrow[i], kv8::fp8::encode<Format>(x) | uint32_t{kv8::fp8::encode<Format>(-x)} << 8)
            << std::hex << in[i];
    }
}

TEST(Conversions, ConvertEveryFp8CodeThatTheHardwareConverts) {
    expect_fp8<kv8::fp8::E4M3FN>("convert_e4m3fn", KV8_E4M3FN, kConvertsOcp);
    expect_fp8<kv8::fp8::E5M2>("convert_e5m2", KV8_E5M2, kConvertsOcp);
    expect_fp8<kv8::fp8::E4M3FNUZ>("convert_e4m3fnuz", KV8_E4M3FNUZ, kConvertsFnuz);
    expect_fp8<kv8::fp8::E5M2FNUZ>("convert_e5m2fnuz", KV8_E5M2FNUZ, kConvertsFnuz);
}

TEST(Conversions, PermuteBytes) {
    const uint32_t low = 0x33221100u, high = 0x77665544u;
    for (uint32_t selector = 0; selector < 0x10000; selector++) {
        if ((selector & 0x8888u) != 0) continue;
        uint32_t want = 0;
        for (int i = 0; i < 4; i++) want |= (selector >> (4 * i) & 7u) * 0x11u << (8 * i);
        ASSERT_EQ(permute_bytes(low, high, selector), want) << std::hex << selector;
    }
}

}  // namespace
