// Numbers of the CUDA driver API, whose header is no part of the build.
#pragma once

#include <cstdint>

namespace kv8::cuda {

// Device attributes.
constexpr int kMultiprocessorCount = 16, kComputeCapabilityMajor = 75, kComputeCapabilityMinor = 76,
              kSharedMemoryPerBlockOptin = 97;

constexpr int kMaxDynamicSharedBytes = 8;  // function attribute
constexpr int kMemoryType = 2;             // pointer attribute
constexpr unsigned kMemoryTypeHost = 1;
constexpr int kJitErrorLog = 5, kJitErrorLogBytes = 6;
constexpr uint64_t kLaunchEnd = 0;

}  // namespace kv8::cuda
