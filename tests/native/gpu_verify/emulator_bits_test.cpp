// What a GPU stores is, bit for bit, what the emulator stores that ran the same suites before: KV8_TEST_EMULATOR names its
// plug-in.
#include <gtest/gtest.h>

#include <numeric>

#include "staging.h"
#include "test_cache.h"

namespace {

using namespace kv8_test;

// KV8_TEST_PLUGIN for one device's opening.
class OtherPlugin {
  public:
    explicit OtherPlugin(const char* path) : before_(std::getenv("KV8_TEST_PLUGIN")) {
        setenv("KV8_TEST_PLUGIN", path, 1);
    }
    ~OtherPlugin() { setenv("KV8_TEST_PLUGIN", before_.c_str(), 1); }

  private:
    std::string before_;
};

std::unique_ptr<TestDevice> emulator() {
    const char* path = std::getenv("KV8_TEST_EMULATOR");
    if (path == nullptr) return nullptr;
    const OtherPlugin plugin(path);
    return std::make_unique<TestDevice>(nullptr);
}

TEST(EmulatorBits, AreTheDevicesInCachesOfAllShapes) {
    const std::unique_ptr<TestDevice> emulated = emulator();
    if (emulated == nullptr) GTEST_SKIP() << "KV8_TEST_EMULATOR is not set";
    ASSERT_EQ(emulated->status(), KV8_OK) << emulated->message();
    std::mt19937 random(static_cast<uint32_t>(seed()));
    for (int i = 0; i < rounds(200); i++) {
        CacheShape shape = any_shape(random);
        shape.blocks = 4;
        const int tokens = shape.blocks * shape.block_size;
        TestCache cache(shape, random);
        TestRows k(any_of(kPlain, random), tokens, shape.heads, shape.head_size, random);
        TestRows v(any_of(kPlain, random), tokens, shape.heads, shape.head_size, random);
        fill_with_values(k, tokens, shape.heads, shape.head_size, random);
        fill_with_values(v, tokens, shape.heads, shape.head_size, random);
        std::vector<int64_t> slots(static_cast<size_t>(tokens));
        std::iota(slots.begin(), slots.end(), 0);
        constexpr uint32_t kPositions = 32;
        const int rotary_size = i % 2 == 0 ? 0 : shape.head_size;
        std::vector<float> table(kPositions * size_t(rotary_size));
        for (float& x : table) x = std::uniform_real_distribution<float>(-1, 1)(random);
        std::vector<int32_t> positions(static_cast<size_t>(tokens));
        for (int32_t& position : positions) position = static_cast<int32_t>(random() % kPositions);
        Image got = cache.before, want = cache.before;
        std::vector<uint64_t> got_saturated(2), want_saturated(2);
        for (Image* image : {&got, &want}) {
            const kv8_cache_view view = cache.view_of(*image);
            kv8_write_args args = {};
            args.struct_size = sizeof(args);
            args.tokens = tokens;
            args.view = &view;
            args.k = k.rows();
            args.v = v.rows();
            args.slots = span_of(slots);
            if (rotary_size > 0)
                args.rope = {span_of(table), span_of(positions), rotary_size,
                             i % 4 == 1 ? KV8_ROPE_HALF : KV8_ROPE_INTERLEAVED};
            args.saturated = span_of(image == &got ? got_saturated : want_saturated);
            ASSERT_EQ(run(image == &got ? *devices().front() : *emulated, args), KV8_OK) << kv8_last_error() << shape;
        }
        ASSERT_NO_FATAL_FAILURE(expect_equal_bytes(got, want, testing::PrintToString(i)));
        ASSERT_EQ(got_saturated, want_saturated) << i;
    }
}

TEST(EmulatorBits, AreTheDevicesInCasts) {
    const std::unique_ptr<TestDevice> emulated = emulator();
    if (emulated == nullptr) GTEST_SKIP() << "KV8_TEST_EMULATOR is not set";
    std::mt19937 random(static_cast<uint32_t>(seed()));
    std::vector<uint32_t> src(1 << 16);
    for (uint32_t& bits : src) bits = static_cast<uint32_t>(random());
    for (kv8_dtype to : kFp8) {
        std::vector<uint8_t> got(src.size()), want(src.size());
        for (std::vector<uint8_t>* codes : {&got, &want}) {
            const kv8_cast_args args = cast_args(span_of(src), KV8_F32, span_of(*codes), to, src.size(), 0.0123f);
            ASSERT_EQ(run(codes == &got ? *devices().front() : *emulated, args), KV8_OK) << kv8_last_error();
        }
        ASSERT_EQ(got, want) << name_of(to);
    }
}

}  // namespace
