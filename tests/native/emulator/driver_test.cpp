// The emulator as a driver of the host side: what it tells of its device, its memory, and which launches it takes.
#include "emulator/driver.h"

#include <cstring>
#include <functional>
#include <thread>
#include <vector>

#include "emulated.h"

namespace {

using namespace kv8::gpu;
using namespace kv8_test;

constexpr int kThreads = 64;

struct Params {
    uint32_t* words;
    uint32_t value;
};

KV8_KERNEL(fill_words, kThreads, 1, Params) {
    store(Shared{0} + 4 * thread(), params.value);
    store(params.words + block() * kThreads + thread(), load<uint32_t>(Shared{0} + 4 * thread()));
}

KV8_KERNEL(fill_past_the_end, kThreads, 1, Params) { store(params.words + thread() + 1, params.value); }

struct DriverTest : testing::Test {
    std::unique_ptr<DriverDevice> device = kv8::emulator::driver().open(0, nullptr);

    Launch launch_of(const char* kernel, const Params& params) {
        Launch launch;
        launch.function = device->function("test", kernel, 4 * kThreads);
        launch.blocks = 2;
        launch.threads = kThreads;
        launch.shared_bytes = 4 * kThreads;
        launch.params = &params;
        launch.params_bytes = sizeof(params);
        return launch;
    }
};

// What a call throws.
template <class Call>
std::string refusal_of(kv8_status status, const Call& call) {
    try {
        call();
    } catch (const kv8::Refusal& refusal) {
        EXPECT_EQ(refusal.status, status);
        return refusal.message;
    }
    return "";
}

TEST_F(DriverTest, TellsWhatItEmulates) {
    EXPECT_STREQ(kv8::emulator::driver().name(), "emulator");
    EXPECT_EQ(kv8::emulator::driver().device_count(), 1);
    const DeviceTraits& traits = device->traits();
    EXPECT_EQ(traits.arch, KV8_TEXT(KV8_EMULATE_ARCH));
    EXPECT_EQ(traits.multiprocessors, 4);
    EXPECT_TRUE(traits.host_accessible);
    EXPECT_GE(traits.memory_bytes, uint64_t{4} << 30);
    EXPECT_FALSE(device->is_capturing(device->create_stream()));
}

TEST_F(DriverTest, RunsALaunch) {
    const uint64_t words = device->allocate(8 * kThreads);
    const Params params{reinterpret_cast<uint32_t*>(words), 42};
    device->launch(launch_of("fill_words", params), 0);
    device->synchronize(0);
    std::vector<uint32_t> out(2 * kThreads);
    device->copy(reinterpret_cast<uint64_t>(out.data()), words, 8 * kThreads, 0);
    EXPECT_EQ(out, std::vector<uint32_t>(2 * kThreads, 42));
    device->fill(words, 0x11, 8 * kThreads, 0);
    EXPECT_EQ(*params.words, 0x11111111u);
    device->release(words, false);
}

TEST_F(DriverTest, ReportsWhatAKernelDidWrong) {
    const uint64_t words = device->allocate(4 * kThreads);
    const Params params{reinterpret_cast<uint32_t*>(words), 42};
    const std::string error =
        refusal_of(KV8_INTERNAL_ERROR, [&] { device->launch(launch_of("fill_past_the_end", params), 0); });
    EXPECT_ERROR(error, std::string("kernel fill_past_the_end of test on emulated ") + KV8_TEXT(KV8_EMULATE_ARCH));
    EXPECT_ERROR(error, "thread 63: writes 4 bytes at 0x");
    EXPECT_ERROR(error, "outside of what is allocated: byte 256 of an allocation of 256 (driver_test.cpp:");
    device->release(words, false);
}

TEST_F(DriverTest, RepeatsACapture) {
    const Stream stream = device->create_stream();
    const uint64_t words = device->allocate(8 * kThreads), copy = device->allocate(8 * kThreads);
    device->fill(words, 0, 8 * kThreads, 0);
    Params params{reinterpret_cast<uint32_t*>(words), 42};
    device->begin_capture(stream);
    EXPECT_TRUE(device->is_capturing(stream));
    EXPECT_FALSE(device->is_capturing(0));
    device->launch(launch_of("fill_words", params), stream);
    device->copy(copy, words, 8 * kThreads, stream);
    device->fill(words, 7, 4, stream);
    params.value = 43;  // what was captured has its own
    const Graph graph = device->end_capture(stream);
    EXPECT_FALSE(device->is_capturing(stream));
    EXPECT_EQ(*params.words, 0u);
    for (int i = 0; i < 2; i++) {
        device->fill(copy, 0, 8 * kThreads, 0);
        device->launch_graph(graph, 0);
        EXPECT_EQ(*params.words, 0x07070707u);
        EXPECT_EQ(*reinterpret_cast<uint32_t*>(copy), 42u);
    }
    device->destroy_graph(graph);
    EXPECT_ERROR(refusal_of(KV8_INTERNAL_ERROR, [&] { device->launch_graph(graph, 0); }), "there is no graph");
    for (const uint64_t address : {words, copy}) device->release(address, false);
}

TEST_F(DriverTest, EndsACaptureThatIsBroken) {
    const Stream stream = device->create_stream();
    const Event event = device->create_event();
    EXPECT_ERROR(refusal_of(KV8_INVALID_ARGUMENT, [&] { device->begin_capture(0); }), "captures no default stream");
    EXPECT_ERROR(refusal_of(KV8_INVALID_ARGUMENT, [&] { device->end_capture(stream); }), "has not begun to capture");
    const struct {
        const char* name;
        std::function<void()> call;
    } breaking[] = {{"allocating memory", [&] { device->allocate(64); }},
                    {"allocating host memory", [&] { device->allocate_host(64); }},
                    {"waiting for a stream", [&] { device->synchronize(stream); }},
                    {"waiting for a stream", [&] { device->synchronize(0); }},
                    {"waiting for an event", [&] { device->wait(event); }},
                    {"waiting for all streams", [&] { device->synchronize_all(); }}};
    for (const auto& breaks : breaking) {
        device->begin_capture(stream);
        std::thread([&] {  // another's is no harm
            device->release(device->allocate(64), false);
            device->synchronize(0);
            device->wait(event);
        })
            .join();
        device->fill(0, 0, 0, stream);
        EXPECT_ERROR(refusal_of(KV8_INVALID_ARGUMENT, breaks.call), std::string(breaks.name) + " breaks the capture");
        EXPECT_ERROR(refusal_of(KV8_INVALID_ARGUMENT, [&] { device->fill(0, 0, 0, stream); }), "an earlier call");
        EXPECT_ERROR(refusal_of(KV8_INVALID_ARGUMENT, [&] { device->end_capture(stream); }), "has broken the capture");
        device->begin_capture(stream);
        device->destroy_graph(device->end_capture(stream));
    }
    // But for these.
    const std::function<void()> by_anyone[] = {[&] { device->synchronize(stream); },
                                               [&] { device->synchronize_all(); }};
    for (const auto& call : by_anyone) {
        device->begin_capture(stream);
        std::thread([&] { EXPECT_ERROR(refusal_of(KV8_INVALID_ARGUMENT, call), "breaks the capture"); }).join();
        EXPECT_ERROR(refusal_of(KV8_INVALID_ARGUMENT, [&] { device->end_capture(stream); }), "has broken the capture");
    }
}

TEST_F(DriverTest, RefusesALaunchThatDoesNotFitItsKernel) {
    const Params params{};
    const auto refusal = [&](const auto& spoil) {
        Launch launch = launch_of("fill_words", params);
        spoil(launch);
        return refusal_of(KV8_INTERNAL_ERROR, [&] { device->launch(launch, 0); });
    };
    EXPECT_ERROR(refusal([](Launch& launch) { launch.blocks = 0; }), "with 0 blocks");
    EXPECT_ERROR(refusal([](Launch& launch) { launch.threads = 32; }), "with 32 threads a block; it has 64");
    EXPECT_ERROR(refusal([](Launch& launch) { launch.params_bytes = 8; }), "8 bytes of parameters; it takes 16");
    EXPECT_ERROR(refusal([](Launch& launch) { launch.shared_bytes += 4; }),
                 "260 bytes of shared memory; it was allowed 256");
    EXPECT_ERROR(refusal_of(KV8_UNSUPPORTED, [&] { device->function("test", "missing", 0); }),
                 "no kernel missing in a module test");
    EXPECT_ERROR(refusal_of(KV8_INTERNAL_ERROR,
                            [&] { device->function("test", "fill_words", device->traits().shared_per_block + 1); }),
                 "needs " + std::to_string(device->traits().shared_per_block + 1) + " bytes of shared memory");
}

TEST_F(DriverTest, AllocatesApartAndTellsPlaces) {
    const uint64_t one = device->allocate(100), other = device->allocate_host(100), large = device->allocate(3 << 20);
    EXPECT_EQ(one % 64, 0u);
    EXPECT_EQ(other % 64, 0u);
    EXPECT_EQ(large % (2 << 20), 0u);
    EXPECT_GE(other - one, 4096u);
    EXPECT_EQ(device->place_of(one), Place::kDevice);
    EXPECT_EQ(device->place_of(one + 99), Place::kDevice);
    EXPECT_EQ(device->place_of(one + 100), Place::kPageable);
    EXPECT_EQ(device->place_of(other + 50), Place::kPinned);
    const int local = 0;
    EXPECT_EQ(device->place_of(reinterpret_cast<uint64_t>(&local)), Place::kPageable);
    EXPECT_EQ(device->place_of(0), Place::kPageable);
    for (const uint64_t address : {one, other, large}) device->release(address, address == other);
    EXPECT_EQ(device->place_of(one), Place::kPageable);
    EXPECT_ERROR(refusal_of(KV8_INTERNAL_ERROR, [&] { device->release(one, false); }), "is no allocation");
}

TEST_F(DriverTest, CopiesAndFillsInsideAllocationsOnly) {
    const uint64_t base = device->allocate(100);
    std::vector<char> host(200);
    const uint64_t outside = reinterpret_cast<uint64_t>(host.data());
    EXPECT_ERROR(refusal_of(KV8_INTERNAL_ERROR, [&] { device->copy(base, outside, 101, 0); }), "the target of a copy");
    EXPECT_ERROR(refusal_of(KV8_INTERNAL_ERROR, [&] { device->copy(outside, base + 1, 100, 0); }),
                 "the source of a copy");
    EXPECT_ERROR(refusal_of(KV8_INTERNAL_ERROR, [&] { device->fill(base - 1, 0, 1, 0); }), "a fill");
    device->release(base, false);
}

TEST_F(DriverTest, HasLimitedMemoryWithRoomForFarOffsets) {
    const uint64_t all = device->free_memory(), large = device->allocate(uint64_t{5} << 29);
    EXPECT_EQ(device->free_memory(), all - (uint64_t{5} << 29));
    reinterpret_cast<char*>(large)[(uint64_t{5} << 29) - 1] = 1;
    EXPECT_ERROR(refusal_of(KV8_OUT_OF_MEMORY, [&] { device->allocate(all); }), "out of memory");
    EXPECT_ERROR(refusal_of(KV8_OUT_OF_MEMORY, [&] { device->allocate(~uint64_t{0}); }), "out of memory");
    device->release(large, false);
    EXPECT_EQ(device->free_memory(), all);
}

// Addresses are given out again only after all others were.
TEST_F(DriverTest, GivesFreedAddressesOutLate) {
    const uint64_t freed = device->allocate(100);
    device->release(freed, false);
    for (int i = 0; i < 100; i++) {
        const uint64_t next = device->allocate(100);
        EXPECT_NE(next, freed);
        device->release(next, false);
    }
    for (int i = 0; i < 24; i++) device->release(device->allocate(uint64_t{3} << 30), false);
}

TEST_F(DriverTest, TakesCallsFromAnyThread) {
    std::vector<std::thread> threads;
    std::vector<int> wrong(4);
    for (size_t t = 0; t < wrong.size(); t++)
        threads.emplace_back([&, t] {
            for (uint32_t i = 0; i < 50; i++) {
                const uint64_t words = device->allocate(8 * kThreads);
                const Params params{reinterpret_cast<uint32_t*>(words), static_cast<uint32_t>(100 * t + i)};
                device->launch(launch_of("fill_words", params), device->create_stream());
                for (int w = 0; w < 2 * kThreads; w++) wrong[t] += params.words[w] != params.value;
                device->release(words, false);
            }
        });
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(wrong, std::vector<int>(4));
}

}  // namespace
