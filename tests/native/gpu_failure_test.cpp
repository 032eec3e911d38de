// Every error that a driver can give, at every call that a program's life brings: each comes back as a status with the
// vendor's own words, and whatever fails, nothing is left behind.
#include <cstdio>
#include <functional>

#include "gpu_driver.h"

namespace kv8_test {
namespace {

constexpr int kUnknown = 999, kIllegalAddress = 700;
constexpr uint64_t kWorkspaceBytes = 2 << 20;  // memory of this size is aligned further than a driver does

// What one function call of the program said.
struct Outcome {
    kv8_status status = KV8_OK;
    std::string message;
};

class GpuFailure : public GpuDriver {
  protected:
    std::map<std::string, int> calls_before_close;

    // The first failure of a small program that uses all of a driver, which then closes its device.
    Outcome program() {
        Outcome outcome;
        const auto step = [&](const std::function<kv8_status()>& call) {
            if (outcome.status != KV8_OK) return;
            outcome.status = call();
            if (outcome.status != KV8_OK) outcome.message = kv8_last_error();
        };
        int32_t count = 0;
        uint64_t memory = 0, pinned = 0;
        kv8_stream* stream = nullptr;
        kv8_graph* graph = nullptr;
        float values[64] = {};
        const kv8_span here{reinterpret_cast<uint64_t>(values), sizeof(values)};
        kv8_device_info told{};
        told.struct_size = sizeof(told);
        kv8_cast_args cast{};
        cast.struct_size = sizeof(cast);
        cast.scale = 1;
        cast.count = 64;
        step([&] { return kv8_device_count(backend, &count); });
        step([&] { return open(); });
        step([&] { return kv8_device_get_info(device, &told); });
        step([&] { return kv8_stream_create(device, &stream); });
        step([&] { return kv8_alloc(device, kWorkspaceBytes, KV8_MEMORY_DEVICE, &memory); });
        step([&] { return kv8_alloc(device, 4096, KV8_MEMORY_HOST, &pinned); });
        step([&] { return kv8_copy(device, stream, {memory, sizeof(values)}, here); });
        step([&] { return kv8_fill(device, stream, {pinned, sizeof(values)}, 0); });
        step([&] {
            cast.src = cast.dst = {memory, sizeof(values)};
            return kv8_cast(device, stream, &cast);
        });
        for (int plans = 0; plans < 6; plans++)
            step([&] { return plan(stream, memory); });  // more than wait their turn
        step([&] { return kv8_graph_begin(device, stream); });
        step([&] { return kv8_cast(device, stream, &cast); });
        step([&] { return kv8_fill(device, stream, {pinned, sizeof(values)}, 1); });
        step([&] { return kv8_graph_end(device, stream, &graph); });
        step([&] { return kv8_graph_launch(device, stream, graph); });
        step([&] { return kv8_copy(device, stream, here, {memory, sizeof(values)}); });
        step([&] { return kv8_stream_sync(device, stream); });
        step([&] { return kv8_graph_destroy(device, graph); });
        step([&] { return kv8_free(device, pinned); });
        step([&] { return kv8_free(device, memory); });
        step([&] { return kv8_stream_destroy(device, stream); });
        calls_before_close = stub.calls;
        if (device != nullptr) {
            EXPECT_EQ(kv8_device_close(device), KV8_OK) << kv8_last_error();
        }
        device = nullptr;
        return outcome;
    }

    std::string words(int code) const {
        if (code == kOutOfMemory)
            return either("CUDA_ERROR_OUT_OF_MEMORY (2): out of memory", "hipErrorOutOfMemory (2): out of memory");
        if (code == kIllegalAddress)
            return either("CUDA_ERROR_ILLEGAL_ADDRESS (700): an illegal memory access",
                          "hipErrorIllegalAddress (700): an illegal memory access");
        return either("CUDA_ERROR_UNKNOWN (999): unknown error", "hipErrorUnknown (999): unknown error");
    }

    kv8_status plan(kv8_stream* stream, uint64_t workspace) {
        const int32_t starts[] = {0, 1, 2}, lengths[] = {5, 6};
        kv8_attention_plan_args args{};
        args.struct_size = sizeof(args);
        args.num_seqs = 2;
        args.q_heads = args.kv_heads = 1;
        args.head_size = 64;
        args.query_start_loc = {reinterpret_cast<uint64_t>(starts), sizeof(starts)};
        args.seq_lens = {reinterpret_cast<uint64_t>(lengths), sizeof(lengths)};
        args.workspace = {workspace, kWorkspaceBytes};
        return kv8_attention_plan(device, stream, &args);
    }
};

INSTANTIATE_TEST_SUITE_P(On, GpuFailure, testing::Values(kCuda, kRocm, kRocm5), name_of_vendor);

// They also undo what a call of kv8 has done to the thread, when it has succeeded or failed already.
bool may_be_silent(const std::string& function) {
    return function == "cuCtxPopCurrent_v2" || function == "hipSetDevice" ||
           function.find("ExchangeStreamCaptureMode") != std::string::npos;
}

// Without a current device nothing can be freed.
bool makes_current(const std::string& function) {
    return function == "cuCtxPushCurrent_v2" || function == "hipGetDevice" || function == "hipSetDevice";
}

TEST_P(GpuFailure, OfAnyCallIsToldAndLeavesNothingBehind) {
    ASSERT_EQ(program().status, KV8_OK) << kv8_last_error();
    ASSERT_TRUE(stub.is_empty());
    const std::map<std::string, int> heard = calls_before_close, all = stub.calls;
    int failures = 0;
    for (const auto& [function, count] : all)
        for (int call = 1; call <= count; call++)
            for (const int code : {kOutOfMemory, kUnknown, kIllegalAddress}) {
                SCOPED_TRACE(function + " call " + std::to_string(call) + " gives " + std::to_string(code));
                stub.calls.clear();
                stub.failures = {{function, call, code}};
                const Outcome outcome = program();
                EXPECT_TRUE(stub.failures.empty());
                if (makes_current(function)) stub.forget();
                EXPECT_TRUE(stub.is_empty());
                stub.forget();
                failures++;
                if (may_be_silent(function) && outcome.status == KV8_OK) continue;
                const auto before_close = heard.find(function);
                if (before_close == heard.end() || call > before_close->second) {
                    EXPECT_EQ(outcome.status, KV8_OK) << outcome.message;
                    continue;
                }
                EXPECT_EQ(outcome.status, code == kOutOfMemory ? KV8_OUT_OF_MEMORY : KV8_DEVICE_ERROR)
                    << outcome.message;
                EXPECT_NE(outcome.message.find(function + ": " + words(code)), std::string::npos) << outcome.message;
            }
    std::printf("%d failures of %zu functions\n", failures, all.size());
}

TEST_P(GpuFailure, ThatIsOneOfTheImagesNamesTheArchitecturesThereAre) {
    const char* const load = either("cuModuleLoadDataEx", "hipModuleLoadData");
    stub.failures = {{load, 1, kNoBinary}};
    EXPECT_REFUSED(open(), KV8_UNSUPPORTED, "this plug-in has kernels for ");
    stub.failures = {{load, 1, kNoBinary}};
    EXPECT_REFUSED(open(), KV8_UNSUPPORTED, std::string(load) + ": ");
}

TEST_P(GpuFailure, ThatEndsADeviceIsToldByEveryLaterCall) {
    ASSERT_EQ(open(), KV8_OK) << kv8_last_error();
    const kv8_span memory = allocate(kWorkspaceBytes);
    kv8_stream* stream = nullptr;
    ASSERT_EQ(kv8_stream_create(device, &stream), KV8_OK) << kv8_last_error();
    stub.failures = {{either("cuStreamSynchronize", "hipStreamSynchronize"), 1, kIllegalAddress}};
    const std::string lost = std::string("The device is lost: ") +
                             either("cuStreamSynchronize: ", "hipStreamSynchronize: ") + words(kIllegalAddress);
    EXPECT_REFUSED(kv8_stream_sync(device, stream), KV8_DEVICE_ERROR, lost);
    const std::map<std::string, int> calls = stub.calls;
    kv8_device_info told{};
    told.struct_size = sizeof(told);
    uint64_t ptr = 0;
    kv8_stream* another = nullptr;
    EXPECT_REFUSED(kv8_stream_sync(device, stream), KV8_DEVICE_ERROR, lost);
    EXPECT_REFUSED(kv8_device_get_info(device, &told), KV8_DEVICE_ERROR, lost);
    EXPECT_REFUSED(kv8_alloc(device, 1, KV8_MEMORY_HOST, &ptr), KV8_DEVICE_ERROR, lost);
    EXPECT_REFUSED(kv8_free(device, memory.ptr), KV8_DEVICE_ERROR, lost);
    EXPECT_REFUSED(kv8_fill(device, stream, memory, 0), KV8_DEVICE_ERROR, lost);
    EXPECT_REFUSED(kv8_stream_create(device, &another), KV8_DEVICE_ERROR, lost);
    EXPECT_REFUSED(plan(stream, memory.ptr), KV8_DEVICE_ERROR, lost);
    EXPECT_EQ(stub.calls, calls);
}

// Invalid values, exhausted resources and misused graphs pass; what a kernel or the hardware broke stays broken.
TEST_P(GpuFailure, EndsADeviceByErrorsThatStay) {
    const char* const synchronize = either("cuStreamSynchronize", "hipStreamSynchronize");
    for (const int code : {1, 2, 201, 400, 701, 720, 801, 900, 999}) {
        ASSERT_EQ(open(), KV8_OK) << kv8_last_error();
        stub.failures = {{synchronize, 1, code}};
        EXPECT_NE(kv8_stream_sync(device, nullptr), KV8_OK) << code;
        EXPECT_EQ(kv8_stream_sync(device, nullptr), KV8_OK) << code << ": " << kv8_last_error();
        EXPECT_EQ(kv8_device_close(device), KV8_OK);
    }
    for (const int code : {4, 46, 214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 810}) {
        ASSERT_EQ(open(), KV8_OK) << kv8_last_error();
        stub.failures = {{synchronize, 1, code}};
        EXPECT_EQ(kv8_stream_sync(device, nullptr), KV8_DEVICE_ERROR) << code;
        EXPECT_REFUSED(kv8_stream_sync(device, nullptr), KV8_DEVICE_ERROR, "The device is lost: ");
        EXPECT_EQ(kv8_device_close(device), KV8_OK);
    }
    device = nullptr;
}

}  // namespace
}  // namespace kv8_test
