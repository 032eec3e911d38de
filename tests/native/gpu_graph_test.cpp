// What the GPU plug-ins ask of a driver for graphs, and what its answers become; what graphs compute is graph_test.cpp's.
#include <cstring>
#include <thread>

#include "door_calls.h"
#include "gpu_driver.h"

namespace kv8_test {
namespace {

// The calls of door_calls.h, on the vendor's device.
class GpuGraph : public GpuDriver {
  protected:
    std::unique_ptr<DoorCalls> calls;
    kv8_device* on = nullptr;
    kv8_stream* stream = nullptr;
    kv8_graph* graph = nullptr;

    void SetUp() override {
        GpuDriver::SetUp();
        setenv("KV8_TEST_PLUGIN", plugin_of(GetParam()).file.path(), 1);
        calls = std::make_unique<DoorCalls>();
        unsetenv("KV8_TEST_PLUGIN");
        on = calls->device;
        ASSERT_EQ(kv8_stream_create(on, &stream), KV8_OK) << kv8_last_error();
        stub.calls.clear();
        stub.launches.clear();
    }
    void TearDown() override {
        calls.reset();
        GpuDriver::TearDown();
    }

    uint64_t native() const { return *stub.streams.begin(); }
    int heard(const char* cuda, const char* hip) { return stub.calls[either(cuda, hip)]; }

    void capture() {
        ASSERT_EQ(kv8_graph_begin(on, stream), KV8_OK) << kv8_last_error();
        ASSERT_EQ(kv8_write(on, stream, &calls->write), KV8_OK) << kv8_last_error();
        ASSERT_EQ(kv8_attention(on, stream, &calls->attention), KV8_OK) << kv8_last_error();
        ASSERT_EQ(kv8_fill(on, stream, calls->cast.dst, 9), KV8_OK) << kv8_last_error();
        ASSERT_EQ(kv8_graph_end(on, stream, &graph), KV8_OK) << kv8_last_error();
    }
};

INSTANTIATE_TEST_SUITE_P(On, GpuGraph, testing::Values(kCuda, kRocm, kRocm5), name_of_vendor);

TEST_P(GpuGraph, IsMadeOnceAndLaunchedByOneCall) {
    capture();
    EXPECT_TRUE(stub.launches.empty());
    EXPECT_EQ(heard("cuStreamBeginCapture_v2", "hipStreamBeginCapture"), 1);
    EXPECT_EQ(heard("cuStreamEndCapture", "hipStreamEndCapture"), 1);
    EXPECT_EQ(heard("cuGraphInstantiateWithFlags", "hipGraphInstantiateWithFlags"), 1);
    EXPECT_EQ(heard("cuGraphDestroy", "hipGraphDestroy"), 1);
    EXPECT_TRUE(stub.graphs.empty());
    EXPECT_EQ(stub.executables.size(), 1u);
    const int launched = heard("cuLaunchKernel", "hipModuleLaunchKernel");

    for (int i = 1; i <= 3; i++) {
        DoorCalls::at<uint8_t>(calls->cast.dst) = 1;
        stub.launches.clear();
        ASSERT_EQ(kv8_graph_launch(on, i == 2 ? stream : nullptr, graph), KV8_OK) << kv8_last_error();
        EXPECT_EQ(heard("cuGraphLaunch", "hipGraphLaunch"), i);
        // The write; attention for decode and for chunks of prompts, whatever the plan's batch was.
        ASSERT_EQ(stub.launches.size(), 3u);
        EXPECT_EQ(stub.launches.front().kernel, "kv8_write_kernel");
        EXPECT_EQ(stub.launches[1].kernel,
                  stub.launches[2].kernel);  // float32 queries: the precise one, for either shape
        for (const Stub::Launch& launch : stub.launches) EXPECT_EQ(launch.stream, i == 2 ? native() : 0u);
        ASSERT_EQ(kv8_stream_sync(on, i == 2 ? stream : nullptr), KV8_OK) << kv8_last_error();
        EXPECT_EQ(DoorCalls::at<uint8_t>(calls->cast.dst), 9);
    }
    EXPECT_EQ(heard("cuLaunchKernel", "hipModuleLaunchKernel"), launched);
    const int waits = heard("cuCtxSynchronize", "hipDeviceSynchronize");
    EXPECT_EQ(kv8_graph_destroy(on, graph), KV8_OK) << kv8_last_error();
    EXPECT_EQ(heard("cuCtxSynchronize", "hipDeviceSynchronize"), waits + 1);
    EXPECT_TRUE(stub.executables.empty());
}

TEST_P(GpuGraph, LeavesTheStreamUsableWhenItsCaptureWasBroken) {
    ASSERT_EQ(kv8_graph_begin(on, stream), KV8_OK) << kv8_last_error();
    ASSERT_EQ(kv8_write(on, stream, &calls->write), KV8_OK) << kv8_last_error();
    stub.captures[native()].broken = true;  // by a call of the driver that went by kv8
    EXPECT_REFUSED(kv8_graph_end(on, stream, &graph), KV8_INVALID_ARGUMENT,
                   either("cuStreamEndCapture: CUDA_ERROR_STREAM_CAPTURE_INVALIDATED (901)",
                          "hipStreamEndCapture: hipErrorStreamCaptureInvalidated (901)"));
    EXPECT_EQ(kv8_stream_sync(on, stream), KV8_OK) << kv8_last_error();
    capture();
    EXPECT_EQ(kv8_graph_launch(on, stream, graph), KV8_OK) << kv8_last_error();
    EXPECT_EQ(kv8_graph_destroy(on, graph), KV8_OK) << kv8_last_error();
}

TEST_P(GpuGraph, IsNotMadeWhereTheDriverCannot) {
    stub.failures = {{either("cuGraphInstantiateWithFlags", "hipGraphInstantiateWithFlags"), 1, 2}};
    ASSERT_EQ(kv8_graph_begin(on, stream), KV8_OK) << kv8_last_error();
    EXPECT_REFUSED(kv8_graph_end(on, stream, &graph), KV8_OUT_OF_MEMORY, "GraphInstantiateWithFlags: ");
    EXPECT_TRUE(stub.graphs.empty());
    EXPECT_TRUE(stub.executables.empty());
    stub.failures = {{either("cuStreamBeginCapture_v2", "hipStreamBeginCapture"), 1, 999}};
    EXPECT_REFUSED(kv8_graph_begin(on, stream), KV8_DEVICE_ERROR, "BeginCapture");
    EXPECT_REFUSED(kv8_graph_end(on, stream, &graph), KV8_INVALID_ARGUMENT, "call kv8_graph_begin first");
    capture();
    EXPECT_EQ(kv8_graph_destroy(on, graph), KV8_OK) << kv8_last_error();
}

TEST_P(GpuGraph, CanBeOfACallersStream) {
    const uint64_t theirs = 0x7777;
    stub.streams.insert(theirs);
    kv8_stream* wrapped = nullptr;
    ASSERT_EQ(kv8_stream_wrap(on, theirs, &wrapped), KV8_OK) << kv8_last_error();
    ASSERT_EQ(kv8_graph_begin(on, wrapped), KV8_OK) << kv8_last_error();
    EXPECT_EQ(kv8_cast(on, wrapped, &calls->cast), KV8_OK) << kv8_last_error();
    ASSERT_EQ(kv8_graph_end(on, wrapped, &graph), KV8_OK) << kv8_last_error();
    EXPECT_EQ(kv8_graph_launch(on, wrapped, graph), KV8_OK) << kv8_last_error();
    ASSERT_EQ(stub.launches.size(), 1u);
    EXPECT_EQ(stub.launches.front().stream, theirs);
    EXPECT_EQ(kv8_stream_destroy(on, wrapped), KV8_OK) << kv8_last_error();
    EXPECT_EQ(stub.streams.erase(theirs), 1u);
}

TEST_P(GpuGraph, IsNotOfAStreamThatWaitsForTheDefaultOne) {
    const uint64_t theirs = 0x7777;
    stub.streams.insert(theirs);
    stub.waiting_streams.insert(theirs);
    kv8_stream* wrapped = nullptr;
    ASSERT_EQ(kv8_stream_wrap(on, theirs, &wrapped), KV8_OK) << kv8_last_error();
    EXPECT_REFUSED(kv8_graph_begin(on, wrapped), KV8_INVALID_ARGUMENT,
                   either("create yours with the flag CU_STREAM_NON_BLOCKING", "with the flag hipStreamNonBlocking"));
    EXPECT_TRUE(stub.capturing.empty());
    EXPECT_EQ(kv8_cast(on, wrapped, &calls->cast), KV8_OK) << kv8_last_error();
    EXPECT_EQ(kv8_stream_destroy(on, wrapped), KV8_OK) << kv8_last_error();
    stub.streams.erase(theirs);
    stub.waiting_streams.erase(theirs);
}

// As TearDown finds.
TEST_P(GpuGraph, GoesWithTheDevice) {
    capture();
    ASSERT_EQ(kv8_graph_begin(on, stream), KV8_OK) << kv8_last_error();
    EXPECT_EQ(kv8_write(on, stream, &calls->write), KV8_OK) << kv8_last_error();
}

// A wait for all streams breaks a capture whoever waits, and so may freeing memory.
TEST_P(GpuGraph, IsNotBrokenByWhatIsFreedMeanwhile) {
    capture();
    kv8_graph* const first = graph;
    capture();
    kv8_device* another = nullptr;  // handle of the same GPU
    kv8_device_options options{};
    options.struct_size = sizeof(options);
    ASSERT_EQ(kv8_device_open(plugin_of(GetParam()).backend, &options, &another), KV8_OK) << kv8_last_error();
    uint64_t memory = 0, others = 0;
    ASSERT_EQ(kv8_alloc(on, 100, KV8_MEMORY_DEVICE, &memory), KV8_OK) << kv8_last_error();
    ASSERT_EQ(kv8_alloc(another, 100, KV8_MEMORY_DEVICE, &others), KV8_OK) << kv8_last_error();

    ASSERT_EQ(kv8_graph_begin(on, stream), KV8_OK) << kv8_last_error();
    EXPECT_EQ(kv8_graph_destroy(on, first), KV8_OK) << kv8_last_error();
    std::thread([&] {
        EXPECT_EQ(kv8_graph_destroy(on, graph), KV8_OK) << kv8_last_error();
        EXPECT_EQ(kv8_free(on, memory), KV8_OK) << kv8_last_error();
        EXPECT_EQ(kv8_free(another, others), KV8_OK) << kv8_last_error();
    }).join();
    EXPECT_EQ(stub.executables.size(), 2u);
    EXPECT_EQ(stub.memory.count(memory), 1u);
    EXPECT_REFUSED(kv8_graph_launch(on, nullptr, first), KV8_INVALID_ARGUMENT, "is not a graph of this device");
    ASSERT_EQ(kv8_graph_end(on, stream, &graph), KV8_OK) << kv8_last_error();
    EXPECT_EQ(stub.executables.size(), 1u);
    EXPECT_EQ(stub.memory.count(memory), 0u);

    EXPECT_EQ(stub.memory.count(others), 1u);
    const int freed = heard("cuMemFree_v2", "hipFree");
    ASSERT_EQ(kv8_alloc(another, 64, KV8_MEMORY_HOST, &memory), KV8_OK) << kv8_last_error();
    EXPECT_EQ(heard("cuMemFree_v2", "hipFree"), freed + 1);  // its address may be that of the new memory
    EXPECT_EQ(kv8_device_close(another), KV8_OK) << kv8_last_error();
}

// Opening takes memory and closing frees some: of the thread that captures, drivers bear neither.
TEST_P(GpuGraph, IsNotBrokenByDevicesOpenedOrClosedByItsThread) {
    kv8_backend* const backend = plugin_of(GetParam()).backend;
    kv8_device *another = nullptr, *late = nullptr;
    kv8_device_options options{};
    options.struct_size = sizeof(options);
    uint64_t memory = 0;
    ASSERT_EQ(kv8_device_open(backend, &options, &another), KV8_OK) << kv8_last_error();
    ASSERT_EQ(kv8_alloc(another, 100, KV8_MEMORY_DEVICE, &memory), KV8_OK) << kv8_last_error();
    ASSERT_EQ(kv8_graph_begin(on, stream), KV8_OK) << kv8_last_error();
    EXPECT_REFUSED(kv8_device_open(backend, &options, &late), KV8_INVALID_ARGUMENT,
                   "cannot hold kv8_device_open; call it before kv8_graph_begin");
    EXPECT_EQ(kv8_device_close(another), KV8_OK) << kv8_last_error();
    EXPECT_EQ(stub.memory.count(memory), 0u);
    kv8_stream* other = nullptr;
    EXPECT_REFUSED(kv8_stream_create(on, &other), KV8_INVALID_ARGUMENT, "cannot hold kv8_stream_create");
    ASSERT_EQ(kv8_graph_end(on, stream, &graph), KV8_OK) << kv8_last_error();
}

TEST_P(GpuGraph, IsGivenUpWithTheHandleOfItsStream) {
    const uint64_t theirs = 0x7777;
    stub.streams.insert(theirs);
    kv8_stream* wrapped = nullptr;
    uint64_t memory = 0;
    ASSERT_EQ(kv8_stream_wrap(on, theirs, &wrapped), KV8_OK) << kv8_last_error();
    for (kv8_stream* const captured : {stream, wrapped}) {
        ASSERT_EQ(kv8_graph_begin(on, captured), KV8_OK) << kv8_last_error();
        EXPECT_EQ(kv8_stream_destroy(on, captured), KV8_OK) << kv8_last_error();
        stub.captures.clear();  // as the stream's owner ends it
        stub.capturing.clear();
        EXPECT_EQ(kv8_alloc(on, 64, KV8_MEMORY_DEVICE, &memory), KV8_OK) << kv8_last_error();
    }
    EXPECT_EQ(stub.streams.erase(theirs), 1u);
}

// What a driver refuses while its stream is captured, kv8 does in another mode: a kernel may be met in a capture first.
TEST_P(GpuGraph, LoadsKernelsThatItMeetsFirst) {
    const char* const load = either("cuModuleLoadDataEx", "hipModuleLoadData");
    ASSERT_EQ(kv8_graph_begin(on, stream), KV8_OK) << kv8_last_error();
    EXPECT_EQ(kv8_merge_states(on, stream, &calls->merge_states), KV8_OK) << kv8_last_error();
    EXPECT_EQ(kv8_sample(on, stream, &calls->sample), KV8_OK) << kv8_last_error();
    EXPECT_GE(stub.calls[load], 1);
    ASSERT_EQ(kv8_graph_end(on, stream, &graph), KV8_OK) << kv8_last_error();
}

}  // namespace
}  // namespace kv8_test
