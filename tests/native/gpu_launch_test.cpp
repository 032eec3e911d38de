// What reaches a driver when kernels are called: which kernel, of how many blocks and threads, with which argument,
// byte by byte; also while a graph is captured. And what a kernel's fault becomes.
#include <cstring>
#include <thread>

#include "door_calls.h"
#include "gpu/kernel_params.h"
#include "gpu_driver.h"

namespace kv8_test {
namespace {

using namespace kv8::gpu;

// The calls of door_calls.h, on the vendor's device.
class GpuLaunch : public GpuDriver {
  protected:
    std::unique_ptr<DoorCalls> calls;

    void SetUp() override {
        GpuDriver::SetUp();
        setenv("KV8_TEST_PLUGIN", plugin_of(GetParam()).file.path(), 1);
        calls = std::make_unique<DoorCalls>();
        unsetenv("KV8_TEST_PLUGIN");
    }
    void TearDown() override {
        calls.reset();
        GpuDriver::TearDown();
    }

    // The one launch of a call. Its argument begins with the call's own.
    template <class Params, class Args>
    Params launched(kv8_status (*call)(kv8_device*, kv8_stream*, const Args*), const Args& args) {
        stub.launches.clear();
        EXPECT_EQ(call(calls->device, nullptr, &args), KV8_OK) << kv8_last_error();
        Params params{};
        EXPECT_EQ(stub.launches.size(), 1u);
        if (stub.launches.size() != 1) return params;
        const Stub::Launch& launch = stub.launches.front();
        EXPECT_EQ(launch.kernel, Params::kKernel);
        EXPECT_EQ(launch.threads, static_cast<unsigned>(Params::kThreads));
        EXPECT_EQ(launch.shared_bytes, static_cast<unsigned>(Params::kSharedBytes));
        EXPECT_EQ(launch.stream, 0u);
        EXPECT_EQ(launch.end, is_cuda() ? 0u : 3u);
        EXPECT_EQ(launch.params.size(), sizeof(Params));
        if (launch.params.size() != sizeof(Params)) return params;
        std::memcpy(static_cast<void*>(&params), launch.params.data(), sizeof(Params));
        EXPECT_EQ(launch.blocks, static_cast<unsigned>(grid(params, is_cuda() ? 132 : 304)));
        EXPECT_EQ(std::memcmp(&params.args, &args, sizeof(args)), 0);
        return params;
    }

    Fault* fault() { return launched<WriteParams>(kv8_write, calls->write).fault; }
};

INSTANTIATE_TEST_SUITE_P(On, GpuLaunch, testing::Values(kCuda, kRocm), name_of_vendor);

bool same(const kv8_cache_view& a, const kv8_cache_view& b) { return std::memcmp(&a, &b, sizeof(a)) == 0; }

TEST_P(GpuLaunch, GivesEachKernelItsArgument) {
    launched<CastParams>(kv8_cast, calls->cast);
    launched<AmaxParams>(kv8_amax, calls->amax);
    launched<MergeStatesParams>(kv8_merge_states, calls->merge_states);
    launched<RmsNormParams>(kv8_rms_norm, calls->rms_norm);
    launched<GateMulParams>(kv8_gate_mul, calls->gate_mul);
    launched<SoftcapParams>(kv8_softcap, calls->softcap);
    EXPECT_TRUE(same(launched<WriteParams>(kv8_write, calls->write).view, calls->view));
    EXPECT_TRUE(same(launched<GatherParams>(kv8_gather, calls->gather).view, calls->view));
    const MoveBlocksParams move = launched<MoveBlocksParams>(kv8_move_blocks, calls->move_blocks);
    EXPECT_TRUE(same(move.src, calls->view));
    EXPECT_TRUE(same(move.dst, calls->other_view));

    // Those that look at values have one place to report to, in memory that the host can read.
    const Fault* const place = fault();
    ASSERT_NE(stub.find(reinterpret_cast<uint64_t>(place)), nullptr);
    EXPECT_TRUE(stub.find(reinterpret_cast<uint64_t>(place))->host);
    EXPECT_EQ(launched<GatherParams>(kv8_gather, calls->gather).fault, place);
    EXPECT_EQ(move.fault, place);
    EXPECT_EQ(launched<RopeParams>(kv8_rope, calls->rope).fault, place);
    EXPECT_EQ(launched<EmbeddingParams>(kv8_embedding, calls->embedding).fault, place);
    EXPECT_EQ(launched<SampleParams>(kv8_sample, calls->sample).fault, place);
}

TEST(GpuGrid, IsAsLargeAsTheDeviceHoldsForAnyNumberOfPairs) {
    MoveBlocksParams params{};
    params.args.count = INT32_MAX;
    params.src.kv_heads = 8;
    params.src.block_size = 16;
    params.src.head_size = 128;
    EXPECT_EQ(grid(params, 132), 132 * MoveBlocksParams::kResident * 2);
}

TEST_P(GpuLaunch, StartsAmaxFromZeroUnlessItAccumulates) {
    float* out = &DoorCalls::at<float>(calls->amax.out);
    out[0] = out[DoorCalls::kHeads * DoorCalls::kWidth - 1] = 5;
    calls->amax.accumulate = 1;
    launched<AmaxParams>(kv8_amax, calls->amax);
    ASSERT_EQ(kv8_stream_sync(calls->device, nullptr), KV8_OK);
    EXPECT_EQ(out[0], 5);
    calls->amax.accumulate = 0;
    launched<AmaxParams>(kv8_amax, calls->amax);
    ASSERT_EQ(kv8_stream_sync(calls->device, nullptr), KV8_OK);
    EXPECT_EQ(out[0], 0);
    EXPECT_EQ(out[DoorCalls::kHeads * DoorCalls::kWidth - 1], 0);
}

TEST_P(GpuLaunch, LoadsAModuleWhenItIsFirstCalledAndFindsAKernelOnce) {
    const char* const load = either("cuModuleLoadDataEx", "hipModuleLoadData");
    const char* const find = either("cuModuleGetFunction", "hipModuleGetFunction");
    const int loads = stub.calls[load], finds = stub.calls[find];
    launched<RmsNormParams>(kv8_rms_norm, calls->rms_norm);
    launched<GateMulParams>(kv8_gate_mul, calls->gate_mul);  // of the same module
    const int loads_with_engine = stub.calls[load];
    EXPECT_LE(loads_with_engine, loads + 1);
    EXPECT_EQ(stub.calls[find], finds + 2);
    launched<SampleParams>(kv8_sample, calls->sample);
    launched<WriteParams>(kv8_write, calls->write);
    const int all_loads = stub.calls[load];
    EXPECT_GT(all_loads, loads);
    launched<RmsNormParams>(kv8_rms_norm, calls->rms_norm);
    launched<WriteParams>(kv8_write, calls->write);
    EXPECT_EQ(stub.calls[load], all_loads);
    EXPECT_EQ(stub.calls[find], finds + 4);
}

TEST_P(GpuLaunch, GivesAttentionTheSharedMemoryThatItNeeds) {
    constexpr int32_t kQueries = 64;  // a chunk of a prompt, in large tiles
    kv8_attention_plan_args& plan = calls->plan;
    plan.num_seqs = 1;
    plan.query_start_loc = calls->values(std::vector<int32_t>{0, kQueries});
    plan.seq_lens = calls->values(std::vector<int32_t>{kQueries});
    plan.workspace = {0, 0};
    ASSERT_EQ(kv8_attention_plan(calls->device, nullptr, &plan), KV8_OK) << kv8_last_error();
    plan.workspace = calls->allocate(plan.workspace_bytes);
    ASSERT_EQ(kv8_attention_plan(calls->device, nullptr, &plan), KV8_OK) << kv8_last_error();
    kv8_attention_args& attention = calls->attention;
    attention.plan = plan.workspace;
    attention.block_table = calls->values(std::vector<int32_t>(kQueries / DoorCalls::kBlockSize));
    attention.block_table_stride = kQueries / DoorCalls::kBlockSize;
    attention.q = calls->rows(kQueries, DoorCalls::kQueryHeads, DoorCalls::kHeadSize, KV8_F16);
    attention.out = attention.q;
    attention.lse = {0, 0};
    calls->view.v.dtype = calls->view.k.dtype;  // as the matrix units want it

    stub.launches.clear();
    stub.shared_bytes_allowed.clear();
    ASSERT_EQ(kv8_attention(calls->device, nullptr, &attention), KV8_OK) << kv8_last_error();
    ASSERT_GE(stub.launches.size(), 1u);
    EXPECT_LE(stub.launches.size(), 2u);
    const Stub::Launch& launch = stub.launches.front();
    EXPECT_GE(launch.blocks, 1u);
    EXPECT_GT(launch.shared_bytes, is_cuda() ? 48u << 10 : 0u);  // for which CUDA wants to be asked
    EXPECT_EQ(stub.shared_bytes_allowed.count(launch.kernel), is_cuda() ? 1u : 0u);
}

// Kernels would follow what is left of it anywhere.
TEST_P(GpuLaunch, KnowsNoPlanThatAnotherWasMadeOver) {
    kv8_attention_plan_args& plan = calls->plan;
    const kv8_span arena = calls->allocate(4 * plan.workspace_bytes + 256);
    const auto make = [&](uint64_t at) {
        plan.workspace = {arena.ptr + at, plan.workspace_bytes};
        ASSERT_EQ(kv8_attention_plan(calls->device, nullptr, &plan), KV8_OK) << kv8_last_error();
    };
    const auto call = [&](uint64_t at) {
        calls->attention.plan = {arena.ptr + at, plan.workspace_bytes};
        return kv8_attention(calls->device, nullptr, &calls->attention);
    };
    const uint64_t first = (plan.workspace_bytes + 63) / 64 * 64, second = 2 * first;
    make(first);
    make(second);
    EXPECT_EQ(call(first), KV8_OK) << kv8_last_error();
    EXPECT_EQ(call(second), KV8_OK) << kv8_last_error();
    make(first + 64);  // over the first's end and the second's beginning
    EXPECT_EQ(call(first + 64), KV8_OK) << kv8_last_error();
    EXPECT_REFUSED(call(first), KV8_INVALID_ARGUMENT, "is not a workspace that kv8_attention_plan filled");
    EXPECT_REFUSED(call(second), KV8_INVALID_ARGUMENT, "is not a workspace that kv8_attention_plan filled");
    make(first);
    EXPECT_EQ(call(first), KV8_OK) << kv8_last_error();
    EXPECT_REFUSED(call(first + 64), KV8_INVALID_ARGUMENT, "is not a workspace that kv8_attention_plan filled");
}

// An MI200's matrix instructions take subnormal half floats for zero, which E5M2's codes 1 to 3 are, and f16 elements may be.
TEST_P(GpuLaunch, GivesNoSubnormalElementToMatrixInstructionsThatFlushIt) {
    if (is_cuda()) GTEST_SKIP() << "an AMD GPU's";
    const auto kernel_of = [&](const char* arch, kv8_dtype dtype) {
        calls.reset();
        stub.arch = arch;
        setenv("KV8_TEST_PLUGIN", plugin_of(GetParam()).file.path(), 1);
        calls = std::make_unique<DoorCalls>();
        unsetenv("KV8_TEST_PLUGIN");
        stub.arch.clear();
        calls->attention.q = calls->attention.out =
            calls->rows(DoorCalls::kTokens, DoorCalls::kQueryHeads, DoorCalls::kHeadSize, KV8_F16);
        calls->view.k.dtype = calls->view.v.dtype = dtype;
        stub.launches.clear();
        EXPECT_EQ(kv8_attention(calls->device, nullptr, &calls->attention), KV8_OK) << kv8_last_error();
        return stub.launches.empty() ? "" : stub.launches.front().kernel;
    };
    EXPECT_EQ(kernel_of("gfx90a", KV8_E5M2), "kv8_attention_precise_d64");
    EXPECT_EQ(kernel_of("gfx90a", KV8_E4M3FN), "kv8_attention_e4m3fn_small");
    EXPECT_EQ(kernel_of("gfx942", KV8_E5M2), "kv8_attention_e5m2_small");
    // What a cache of E5M2 holds on an MI300, and what needs its conversion.
    EXPECT_EQ(kernel_of("gfx942", KV8_E5M2FNUZ), "kv8_attention_e5m2fnuz_small");
    EXPECT_EQ(kernel_of("gfx950", KV8_E5M2FNUZ), "kv8_attention_precise_d64");
}

TEST_P(GpuLaunch, TakesNoMemoryAndWaitsForNothingWhileAGraphIsCaptured) {
    kv8_stream* stream = nullptr;
    ASSERT_EQ(kv8_stream_create(calls->device, &stream), KV8_OK) << kv8_last_error();
    stub.capturing = stub.streams;
    kv8_device* const on = calls->device;
    const int allocations = stub.calls[either("cuMemAlloc_v2", "hipMalloc")];
    EXPECT_EQ(kv8_cast(on, stream, &calls->cast), KV8_OK) << kv8_last_error();
    EXPECT_EQ(kv8_amax(on, stream, &calls->amax), KV8_OK) << kv8_last_error();
    EXPECT_EQ(kv8_write(on, stream, &calls->write), KV8_OK) << kv8_last_error();
    EXPECT_EQ(kv8_gather(on, stream, &calls->gather), KV8_OK) << kv8_last_error();
    EXPECT_EQ(kv8_move_blocks(on, stream, &calls->move_blocks), KV8_OK) << kv8_last_error();
    EXPECT_EQ(kv8_attention(on, stream, &calls->attention), KV8_OK) << kv8_last_error();
    EXPECT_EQ(kv8_merge_states(on, stream, &calls->merge_states), KV8_OK) << kv8_last_error();
    EXPECT_EQ(kv8_rms_norm(on, stream, &calls->rms_norm), KV8_OK) << kv8_last_error();
    EXPECT_EQ(kv8_rope(on, stream, &calls->rope), KV8_OK) << kv8_last_error();
    EXPECT_EQ(kv8_gate_mul(on, stream, &calls->gate_mul), KV8_OK) << kv8_last_error();
    EXPECT_EQ(kv8_softcap(on, stream, &calls->softcap), KV8_OK) << kv8_last_error();
    EXPECT_EQ(kv8_embedding(on, stream, &calls->embedding), KV8_OK) << kv8_last_error();
    EXPECT_EQ(kv8_sample(on, stream, &calls->sample), KV8_OK) << kv8_last_error();
    EXPECT_EQ(kv8_copy(on, stream, {calls->cast.dst.ptr, 64}, {calls->cast.src.ptr, 64}), KV8_OK) << kv8_last_error();
    EXPECT_EQ(kv8_fill(on, stream, calls->cast.dst, 0), KV8_OK) << kv8_last_error();
    EXPECT_EQ(stub.calls[either("cuMemAlloc_v2", "hipMalloc")], allocations);
    EXPECT_EQ(stub.broken_captures, 0);

    // What a graph cannot hold is refused before it breaks the capture.
    char here[100];
    EXPECT_REFUSED(kv8_stream_sync(on, stream), KV8_INVALID_ARGUMENT, "being captured into a graph");
    EXPECT_REFUSED(kv8_attention_plan(on, stream, &calls->plan), KV8_INVALID_ARGUMENT, "make the plan on a stream");
    EXPECT_REFUSED(kv8_copy(on, stream, {reinterpret_cast<uint64_t>(here), 100}, calls->cast.dst), KV8_INVALID_ARGUMENT,
                   "cannot copy from or to pageable host memory");
    EXPECT_EQ(stub.broken_captures, 0);
    stub.capturing.clear();
    EXPECT_EQ(kv8_stream_sync(on, stream), KV8_OK) << kv8_last_error();
}

// ---- faults

TEST_P(GpuLaunch, ReportsAFaultOnceWhenAStreamIsWaitedFor) {
    Fault* const place = fault();
    *place = {kBadSlot, 0, 3, 99, 24};
    EXPECT_EQ(kv8_cast(calls->device, nullptr, &calls->cast), KV8_OK) << kv8_last_error();
    EXPECT_REFUSED(kv8_stream_sync(calls->device, nullptr), KV8_INVALID_ARGUMENT,
                   "slots[3] is 99; the cache has slots 0 to 23, and -1 skips a token.");
    EXPECT_EQ(kv8_stream_sync(calls->device, nullptr), KV8_OK);
}

// Another stream's kernel may be writing the fault down.
TEST_P(GpuLaunch, ReadsAFaultWhenAllStreamsHaveBeenWaitedFor) {
    const char* const wait_for_all = either("cuCtxSynchronize", "hipDeviceSynchronize");
    Fault* const place = fault();
    EXPECT_EQ(kv8_stream_sync(calls->device, nullptr), KV8_OK) << kv8_last_error();
    EXPECT_EQ(stub.calls[wait_for_all], 0);
    kv8_stream* other = nullptr;
    ASSERT_EQ(kv8_stream_create(calls->device, &other), KV8_OK) << kv8_last_error();
    place->kind = kBadSlot;
    stub.queues[*stub.streams.begin()].waiting.push_back([&] { *place = {kBadSlot, 0, 3, 99, 24}; });
    // Not while a stream is captured, whose capture that would break.
    std::thread([&] { ASSERT_EQ(kv8_graph_begin(calls->device, other), KV8_OK) << kv8_last_error(); }).join();
    EXPECT_EQ(kv8_stream_sync(calls->device, nullptr), KV8_OK) << kv8_last_error();
    EXPECT_EQ(stub.calls[wait_for_all], 0);
    EXPECT_EQ(kv8_stream_destroy(calls->device, other), KV8_OK) << kv8_last_error();
    EXPECT_REFUSED(kv8_stream_sync(calls->device, nullptr), KV8_INVALID_ARGUMENT, "slots[3] is 99;");
    EXPECT_EQ(stub.calls[wait_for_all], 1);
}

TEST_P(GpuLaunch, ReportsAFaultWithACopyToTheHost) {
    Fault* const place = fault();
    char here[100];
    *place = {kBadTokenId, 0, 1, -5, 11};
    EXPECT_REFUSED(kv8_copy(calls->device, nullptr, {reinterpret_cast<uint64_t>(here), 100}, calls->cast.dst),
                   KV8_INVALID_ARGUMENT, "ids[1] is -5; the vocabulary has ids 0 to 10.");
}

TEST_P(GpuLaunch, HasWordsForEveryFault) {
    Fault* const place = fault();
    const auto bits = [](float x) {
        int32_t word;
        std::memcpy(&word, &x, sizeof(word));
        return int64_t{word};
    };
    const struct {
        Fault fault;
        const char* text;
    } cases[] = {
        {{kBadBlock, 1, 2, -7, 3}, "Block table entry 2 of sequence 1 is -7"},
        {{kBadPosition, 0, 4, 8, 7}, "rope.positions[4] is 8; the table has positions 0 to 6."},
        {{kBadScale, 1, 63, bits(-1.5f), 0}, "chan of head 1, channel 63 is -1.5;"},
        {{kBadSource, 0, 1, 3, 3}, "pairs[1] reads block 3; src has blocks 0 to 2."},
        {{kBadTarget, 0, 1, 3, 3}, "pairs[1] writes block 3; dst has blocks 0 to 2."},
        {{kBadTemperature, 0, 2, bits(-1), 0}, "sampling[2].temperature is -1;"},
        {{kBadTopP, 0, 2, bits(1.5f), 0}, "sampling[2].top_p is 1.5;"},
        {{kBadTopK, 0, 2, -1, 0}, "sampling[2].top_k is -1;"},
        {{kBadUniform, 0, 2, bits(1), 0}, "sampling[2].uniform is 1;"},
        {{kBadPlan, 0, kNoPlan, 0, 0}, "plan does not hold what kv8_attention_plan wrote there"},
        {{kBadPlan, 0, kTooManySequences, 4, 4}, "plan is for 4 sequences; the call was made for 3"},
        {{kBadPlan, 0, kTooManyQueries, 9, 4}, "plan is for 9 queries; the call was made for 3"},
        {{kBadPlan, 0, kTooManyKeys, 33, 33}, "plan has a sequence of 33 keys; the call's block table holds 32"},
        {{kBadLogits, 0, 4, 0, 0}, "logits of token 4 hold NaN or +infinity"},
    };
    for (const auto& c : cases) {
        *place = c.fault;
        EXPECT_REFUSED(kv8_stream_sync(calls->device, nullptr), KV8_INVALID_ARGUMENT, c.text);
    }
}

}  // namespace
}  // namespace kv8_test
