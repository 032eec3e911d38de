// What the GPU plug-ins ask of a driver, and what its answers become: devices, streams, memory, copies, graphs.
#include "gpu_driver.h"

#include <cstring>
#include <numeric>
#include <vector>

#include "gpu/attention_plan.h"

namespace kv8_test {
namespace {

INSTANTIATE_TEST_SUITE_P(On, GpuDriver, testing::Values(kCuda, kRocm, kRocm5), name_of_vendor);

template <class T>
T& at(const kv8_span& span, size_t i = 0) {
    return reinterpret_cast<T*>(span.ptr)[i];
}

// ---- devices

TEST_P(GpuDriver, DescribesItsDevice) {
    ASSERT_EQ(open(), KV8_OK) << kv8_last_error();
    const kv8_device_info told = info();
    EXPECT_STREQ(kv8_backend_name(backend), GetParam().backend);
    EXPECT_STREQ(told.name, "Stub GPU 0");
    EXPECT_STREQ(told.arch, GetParam().arch);
    EXPECT_STREQ(told.driver, GetParam().driver);
    EXPECT_EQ(told.memory_bytes, stub.memory_bytes);
    EXPECT_EQ(told.memory_free, stub.memory_bytes / 2);
    EXPECT_EQ(told.dtypes, 0x7Fu);
    EXPECT_EQ(told.native_fp8, is_cuda() ? 1u << KV8_E4M3FN | 1u << KV8_E5M2 : 1u << KV8_E4M3FNUZ | 1u << KV8_E5M2FNUZ);
    EXPECT_EQ(told.host_accessible, 0);
}

TEST_P(GpuDriver, CountsDevices) {
    int32_t count = -1;
    stub.devices = 3;
    EXPECT_EQ(kv8_device_count(backend, &count), KV8_OK);
    EXPECT_EQ(count, 3);
    stub.devices = 0;  // then even initialization fails
    EXPECT_EQ(kv8_device_count(backend, &count), KV8_OK) << kv8_last_error();
    EXPECT_EQ(count, 0);
    EXPECT_REFUSED(open(), KV8_INVALID_ARGUMENT, "has 0 device(s)");
    stub.devices = 1;
}

TEST_P(GpuDriver, RefusesAnArchitectureWithoutKernels) {
    stub.arch = GetParam().unknown_arch;
    EXPECT_REFUSED(open(), KV8_UNSUPPORTED, std::string("Stub GPU 0 is a ") + GetParam().unknown_arch);
    EXPECT_REFUSED(open(), KV8_UNSUPPORTED, "this plug-in has kernels for ");
    if (is_cuda()) {
        EXPECT_REFUSED(open(), KV8_UNSUPPORTED, "cuModuleLoadDataEx: CUDA_ERROR_NO_BINARY_FOR_GPU (209): no kernel");
        EXPECT_REFUSED(open(), KV8_UNSUPPORTED, "the driver is for CUDA 13.1; its compiler says: ptxas fatal");
    }
    stub.arch.clear();
}

// ---- memory

TEST_P(GpuDriver, AlignsMemoryBetterThanTheDriver) {
    ASSERT_EQ(open(), KV8_OK) << kv8_last_error();
    for (const int32_t kind : {KV8_MEMORY_DEVICE, KV8_MEMORY_HOST})
        for (const uint64_t bytes : {uint64_t{1}, uint64_t{100}, uint64_t{2} << 20, uint64_t{5} << 20}) {
            const kv8_span span = allocate(bytes, kind);
            EXPECT_EQ(span.ptr % (bytes < 2 << 20 ? 64 : 2 << 20), 0u) << bytes;
            std::memset(reinterpret_cast<void*>(span.ptr), 1, bytes);
        }
    EXPECT_EQ(info().allocated_bytes, 2 * (101 + (7u << 20)));
}

TEST_P(GpuDriver, FreesWhatItGave) {
    ASSERT_EQ(open(), KV8_OK) << kv8_last_error();
    const size_t before = stub.memory.size();
    const kv8_span memory = allocate(3 << 20), pinned = allocate(64, KV8_MEMORY_HOST);
    EXPECT_EQ(kv8_free(device, memory.ptr), KV8_OK) << kv8_last_error();
    EXPECT_EQ(kv8_free(device, pinned.ptr), KV8_OK) << kv8_last_error();
    EXPECT_EQ(stub.memory.size(), before);
    EXPECT_EQ(info().allocated_bytes, 0u);
    EXPECT_REFUSED(kv8_free(device, memory.ptr), KV8_INVALID_ARGUMENT, "is not an allocation of this device");
}

TEST_P(GpuDriver, SaysWhenMemoryIsOut) {
    ASSERT_EQ(open(), KV8_OK) << kv8_last_error();
    uint64_t ptr = 0;
    EXPECT_REFUSED(kv8_alloc(device, stub.memory_bytes + 1, KV8_MEMORY_DEVICE, &ptr), KV8_OUT_OF_MEMORY,
                   "4294967297 bytes were asked for; this device has 4294967296");
    const kv8_span most = allocate(1 << 20);
    EXPECT_REFUSED(kv8_alloc(device, stub.memory_bytes, KV8_MEMORY_DEVICE, &ptr), KV8_OUT_OF_MEMORY,
                   either("cuMemAlloc_v2: CUDA_ERROR_OUT_OF_MEMORY (2): out of memory",
                          "hipMalloc: hipErrorOutOfMemory (2): out of memory"));
    EXPECT_EQ(kv8_free(device, most.ptr), KV8_OK);
}

// ---- copies and streams

TEST_P(GpuDriver, CopiesPageableMemoryAtOnceAndAllElseLater) {
    ASSERT_EQ(open(), KV8_OK) << kv8_last_error();
    kv8_stream* stream = nullptr;
    ASSERT_EQ(kv8_stream_create(device, &stream), KV8_OK) << kv8_last_error();
    std::vector<int32_t> from{1, 2, 3, 4}, to(4);
    const kv8_span a = allocate(16), b = allocate(16, KV8_MEMORY_HOST),
                   here{reinterpret_cast<uint64_t>(from.data()), 16}, there{reinterpret_cast<uint64_t>(to.data()), 16};
    ASSERT_EQ(kv8_fill(device, nullptr, b, 0), KV8_OK);
    ASSERT_EQ(kv8_stream_sync(device, nullptr), KV8_OK);

    ASSERT_EQ(kv8_copy(device, stream, a, here), KV8_OK) << kv8_last_error();
    from = {9, 9, 9, 9};
    ASSERT_EQ(kv8_copy(device, stream, b, a), KV8_OK) << kv8_last_error();
    EXPECT_EQ(at<int32_t>(b, 3), 0);  // under way
    ASSERT_EQ(kv8_fill(device, stream, a, 7), KV8_OK) << kv8_last_error();
    ASSERT_EQ(kv8_copy(device, stream, there, a), KV8_OK) << kv8_last_error();
    EXPECT_EQ(at<int32_t>(b, 3), 4);
    EXPECT_EQ(to, std::vector<int32_t>(4, 0x07070707));
    EXPECT_EQ(kv8_stream_destroy(device, stream), KV8_OK) << kv8_last_error();
}

TEST_P(GpuDriver, LeavesACallersStreamToItsOwner) {
    ASSERT_EQ(open(), KV8_OK) << kv8_last_error();
    const kv8_span memory = allocate(8, KV8_MEMORY_HOST);
    at<uint64_t>(memory) = 0;
    const uint64_t theirs = 0x7777;
    stub.streams.insert(theirs);
    kv8_stream* stream = nullptr;
    ASSERT_EQ(kv8_stream_wrap(device, theirs, &stream), KV8_OK) << kv8_last_error();
    ASSERT_EQ(kv8_fill(device, stream, memory, 1), KV8_OK) << kv8_last_error();
    EXPECT_EQ(stub.queues[theirs].waiting.size(), 1u);
    EXPECT_EQ(kv8_stream_sync(device, stream), KV8_OK) << kv8_last_error();
    EXPECT_EQ(at<uint64_t>(memory), 0x0101010101010101u);
    EXPECT_EQ(kv8_stream_destroy(device, stream), KV8_OK) << kv8_last_error();
    EXPECT_EQ(stub.streams.erase(theirs), 1u);
    EXPECT_REFUSED(kv8_stream_wrap(device, 0x9999, &stream), KV8_DEVICE_ERROR, "StreamIsCapturing");
}

TEST_P(GpuDriver, FreesStreamsAndMemoryWithTheDevice) {
    ASSERT_EQ(open(), KV8_OK) << kv8_last_error();
    kv8_stream* stream = nullptr;
    ASSERT_EQ(kv8_stream_create(device, &stream), KV8_OK) << kv8_last_error();
    ASSERT_EQ(kv8_fill(device, stream, allocate(1 << 20), 1), KV8_OK) << kv8_last_error();
    allocate(1 << 20, KV8_MEMORY_HOST);
}

TEST_P(GpuDriver, ServesDevicesSideBySide) {
    ASSERT_EQ(open(), KV8_OK) << kv8_last_error();
    kv8_device* const first = device;
    ASSERT_EQ(open(), KV8_OK) << kv8_last_error();
    const kv8_span memory = allocate(64);
    EXPECT_REFUSED(kv8_free(first, memory.ptr), KV8_INVALID_ARGUMENT, "is not an allocation of this device");
    EXPECT_EQ(kv8_device_close(first), KV8_OK);
    EXPECT_EQ(kv8_free(device, memory.ptr), KV8_OK) << kv8_last_error();
}

// ---- attention's plans, which reach the device through the staging ring

TEST_P(GpuDriver, UploadsPlansOneAfterAnotherWithoutMixingThem) {
    ASSERT_EQ(open(), KV8_OK) << kv8_last_error();
    constexpr int kPlans = 11;  // more than the ring has places
    std::vector<int32_t> starts(200), lengths(200);
    std::iota(starts.begin(), starts.end(), 0);
    kv8_attention_plan_args args{};
    args.struct_size = sizeof(args);
    args.q_heads = 8;
    args.kv_heads = 2;
    args.head_size = 128;
    args.query_start_loc = {reinterpret_cast<uint64_t>(starts.data()), 4 * starts.size()};
    args.seq_lens = {reinterpret_cast<uint64_t>(lengths.data()), 4 * lengths.size()};
    std::vector<kv8_span> workspaces;
    for (int i = 0; i < kPlans; i++) {
        args.num_seqs = 1 + 17 * i;
        std::fill(lengths.begin(), lengths.end(), 100 + i);
        args.workspace = {0, 0};
        ASSERT_EQ(kv8_attention_plan(device, nullptr, &args), KV8_OK) << kv8_last_error();
        workspaces.push_back(args.workspace = allocate(args.workspace_bytes));
        ASSERT_EQ(kv8_attention_plan(device, nullptr, &args), KV8_OK) << kv8_last_error();
    }
    ASSERT_EQ(kv8_stream_sync(device, nullptr), KV8_OK) << kv8_last_error();
    for (int i = 0; i < kPlans; i++) {
        const auto& header = at<kv8::gpu::PlanHeader>(workspaces[static_cast<size_t>(i)]);
        ASSERT_EQ(header.num_seqs, 1 + 17 * i);
        ASSERT_EQ(header.longest, 100 + i);
        int told = 0;  // words between the header and what is behind the items: each item has one at least
        for (uint64_t offset = sizeof(header); offset < header.arrival_offset; offset += 4)
            told += at<int32_t>({workspaces[static_cast<size_t>(i)].ptr + offset, 4}) == 100 + i;
        ASSERT_GE(told, header.num_seqs);
    }
    // A wait for each plan that found the ring full, and for none before.
    EXPECT_EQ(stub.calls[either("cuEventSynchronize", "hipEventSynchronize")], kPlans - 4);
}

TEST_P(GpuDriver, ForgetsPlansWithTheirMemoryAndNotBefore) {
    ASSERT_EQ(open(), KV8_OK) << kv8_last_error();
    const std::vector<int32_t> starts{0, 1}, lengths{0};
    kv8_attention_plan_args plan{};
    plan.struct_size = sizeof(plan);
    plan.num_seqs = plan.q_heads = plan.kv_heads = 1;
    plan.head_size = 64;
    plan.query_start_loc = {reinterpret_cast<uint64_t>(starts.data()), 8};
    plan.seq_lens = {reinterpret_cast<uint64_t>(lengths.data()), 4};
    const kv8_span memory = allocate(1 << 20);
    plan.workspace = {memory.ptr + 4096, memory.bytes - 4096};  // inside
    ASSERT_EQ(kv8_attention_plan(device, nullptr, &plan), KV8_OK) << kv8_last_error();
    kv8_cache_view view{};
    view.struct_size = sizeof(view);
    view.num_blocks = view.block_size = view.kv_heads = 1;
    view.head_size = 64;
    view.k = view.v = {KV8_F16, 0, 0, 0, 0, -1, 0, {}, 0, 0};
    view.memory = allocate(128);
    kv8_attention_args args{};
    args.struct_size = sizeof(args);
    args.view = &view;
    args.plan = plan.workspace;
    args.block_table_stride = 1;
    args.block_table = allocate(4);
    args.q = {allocate(128), 128, 128, KV8_F16, 0};
    args.out = {allocate(128), 128, 128, KV8_F16, 0};
    EXPECT_REFUSED(kv8_free(device, plan.workspace.ptr), KV8_INVALID_ARGUMENT, "is not an allocation of this device");
    EXPECT_EQ(kv8_attention(device, nullptr, &args), KV8_OK) << kv8_last_error();
    EXPECT_EQ(kv8_free(device, memory.ptr), KV8_OK) << kv8_last_error();
    EXPECT_REFUSED(kv8_attention(device, nullptr, &args), KV8_INVALID_ARGUMENT,
                   "plan is not a workspace that kv8_attention_plan filled");
}

// ---- opening

TEST(GpuPlugin, SaysWhichDriverLibraryIsMissing) {
    for (const Vendor& vendor : {kCuda, kRocm}) {
        const PluginCopy plugin(vendor.plugin);
        kv8_backend* backend = nullptr;
        setenv(vendor.variable, "/nonexistent/libdriver.so", 1);
        EXPECT_REFUSED(kv8_backend_load(plugin.path(), &backend), KV8_LIBRARY_MISSING,
                       "The driver library /nonexistent/libdriver.so cannot be opened");
        EXPECT_REFUSED(kv8_backend_load(plugin.path(), &backend), KV8_LIBRARY_MISSING,
                       std::string("or set ") + vendor.variable);
        unsetenv(vendor.variable);
        // It is found when it is there.
        setenv(vendor.variable, library(vendor.stub).c_str(), 1);
        EXPECT_EQ(kv8_backend_load(plugin.path(), &backend), KV8_OK) << kv8_last_error();
        unsetenv(vendor.variable);
    }
}

TEST(GpuPlugin, SaysWhichFunctionAnOldDriverLacks) {
    const PluginCopy plugin(kCuda.plugin);
    kv8_backend* backend = nullptr;
    setenv(kCuda.variable, library("kv8_old_cuda_stub").c_str(), 1);
    EXPECT_REFUSED(kv8_backend_load(plugin.path(), &backend), KV8_LIBRARY_MISSING,
                   "has no function cuThreadExchangeStreamCaptureMode: it is too old");
    unsetenv(kCuda.variable);
}

}  // namespace
}  // namespace kv8_test
