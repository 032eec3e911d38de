// What kv8 declares of the CUDA driver API for itself, against NVIDIA's own header where a toolkit is; without, it says so.
#include <gtest/gtest.h>

#if __has_include(<cuda.h>)
#include <cuda.h>

#include <tuple>
#include <type_traits>

#include "cuda/driver.h"
#include "cuda/numbers.h"
#include "gpu/host/vendor/numbers.h"

namespace {

using kv8::cuda::Calls;

template <class T>
struct Parameters;
template <class... P>
struct Parameters<CUresult(P...)> {
    using Types = std::tuple<P...>;
};
template <class... P>
struct Parameters<kv8::gpu::Call<P...>> {
    using Types = std::tuple<P...>;
};

template <class Theirs, class Ours, size_t... kIndex>
constexpr bool same_sizes(std::index_sequence<kIndex...>) {
    return ((sizeof(std::tuple_element_t<kIndex, Theirs>) == sizeof(std::tuple_element_t<kIndex, Ours>)) && ...);
}

// As many arguments, each of the same size: the calling convention needs no more.
template <class Theirs, class Ours>
constexpr bool agrees() {
    using A = typename Parameters<Theirs>::Types;
    using B = typename Parameters<Ours>::Types;
    if constexpr (std::tuple_size_v<A> != std::tuple_size_v<B>)
        return false;
    else
        return same_sizes<A, B>(std::make_index_sequence<std::tuple_size_v<A>>());
}

#define EXPECT_AGREES(call, function) EXPECT_TRUE((agrees<decltype(function), decltype(Calls::call)>()))

TEST(CudaHeader, DeclaresTheFunctionsAsKv8Does) {
    EXPECT_AGREES(memory_info, cuMemGetInfo_v2);
    EXPECT_AGREES(module_function, cuModuleGetFunction);
    EXPECT_AGREES(module_unload, cuModuleUnload);
    EXPECT_AGREES(launch, cuLaunchKernel);
    EXPECT_AGREES(stream_create, cuStreamCreate);
    EXPECT_AGREES(stream_destroy, cuStreamDestroy_v2);
    EXPECT_AGREES(stream_synchronize, cuStreamSynchronize);
    EXPECT_AGREES(stream_is_capturing, cuStreamIsCapturing);
    EXPECT_AGREES(capture_begin, cuStreamBeginCapture_v2);
    EXPECT_AGREES(capture_end, cuStreamEndCapture);
    EXPECT_AGREES(graph_instantiate, cuGraphInstantiateWithFlags);
    EXPECT_AGREES(graph_destroy, cuGraphDestroy);
    EXPECT_AGREES(executable_launch, cuGraphLaunch);
    EXPECT_AGREES(executable_destroy, cuGraphExecDestroy);
    EXPECT_AGREES(exchange_capture_mode, cuThreadExchangeStreamCaptureMode);
    EXPECT_AGREES(synchronize, cuCtxSynchronize);
    EXPECT_AGREES(event_create, cuEventCreate);
    EXPECT_AGREES(event_destroy, cuEventDestroy_v2);
    EXPECT_AGREES(event_record, cuEventRecord);
    EXPECT_AGREES(event_synchronize, cuEventSynchronize);
    EXPECT_AGREES(allocate, cuMemAlloc_v2);
    EXPECT_AGREES(free, cuMemFree_v2);
    EXPECT_AGREES(allocate_host, cuMemHostAlloc);
    EXPECT_AGREES(free_host, cuMemFreeHost);
    EXPECT_AGREES(fill, cuMemsetD8Async);
    EXPECT_AGREES(initialize, cuInit);
    EXPECT_AGREES(driver_version, cuDriverGetVersion);
    EXPECT_AGREES(device_count, cuDeviceGetCount);
    EXPECT_AGREES(device_get, cuDeviceGet);
    EXPECT_AGREES(device_name, cuDeviceGetName);
    EXPECT_AGREES(device_attribute, cuDeviceGetAttribute);
    EXPECT_AGREES(device_memory, cuDeviceTotalMem_v2);
    EXPECT_AGREES(retain_context, cuDevicePrimaryCtxRetain);
    EXPECT_AGREES(release_context, cuDevicePrimaryCtxRelease_v2);
    EXPECT_AGREES(push_context, cuCtxPushCurrent_v2);
    EXPECT_AGREES(pop_context, cuCtxPopCurrent_v2);
    EXPECT_AGREES(module_load, cuModuleLoadDataEx);
    EXPECT_AGREES(set_function_attribute, cuFuncSetAttribute);
    EXPECT_AGREES(copy, cuMemcpyAsync);
    EXPECT_AGREES(pointer_attribute, cuPointerGetAttribute);
    EXPECT_AGREES(error_name, cuGetErrorName);
    EXPECT_AGREES(error_text, cuGetErrorString);
}

TEST(CudaHeader, NumbersThingsAsKv8Does) {
    using namespace kv8;
    EXPECT_EQ(cuda::kMultiprocessorCount, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
    EXPECT_EQ(cuda::kComputeCapabilityMajor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
    EXPECT_EQ(cuda::kComputeCapabilityMinor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
    EXPECT_EQ(cuda::kSharedMemoryPerBlockOptin, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
    EXPECT_EQ(cuda::kMaxDynamicSharedBytes, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
    EXPECT_EQ(cuda::kMemoryType, CU_POINTER_ATTRIBUTE_MEMORY_TYPE);
    EXPECT_EQ(cuda::kMemoryTypeHost, CU_MEMORYTYPE_HOST);
    EXPECT_EQ(cuda::kJitErrorLog, CU_JIT_ERROR_LOG_BUFFER);
    EXPECT_EQ(cuda::kJitErrorLogBytes, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES);
    EXPECT_EQ(cuda::kLaunchEnd, CU_LAUNCH_PARAM_END_AS_INT);
    EXPECT_EQ(gpu::kLaunchBuffer, CU_LAUNCH_PARAM_BUFFER_POINTER_AS_INT);
    EXPECT_EQ(gpu::kLaunchBufferBytes, CU_LAUNCH_PARAM_BUFFER_SIZE_AS_INT);
    EXPECT_EQ(gpu::kStreamNonBlocking, CU_STREAM_NON_BLOCKING);
    EXPECT_EQ(gpu::kEventWithoutTiming, CU_EVENT_DISABLE_TIMING);
    EXPECT_EQ(gpu::kHostMemoryPortable, CU_MEMHOSTALLOC_PORTABLE);
    EXPECT_EQ(gpu::kHostMemoryMapped, CU_MEMHOSTALLOC_DEVICEMAP);
    EXPECT_EQ(gpu::kCaptureThreadLocal, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    EXPECT_EQ(gpu::kCaptureRelaxed, CU_STREAM_CAPTURE_MODE_RELAXED);
    EXPECT_EQ(gpu::kInvalidValue, CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(gpu::kNoDevice, CUDA_ERROR_NO_DEVICE);
}

}  // namespace

#else

TEST(CudaHeader, IsNotHere) { GTEST_SKIP() << "cuda.h is not installed: nothing to compare kv8's declarations with"; }

#endif
