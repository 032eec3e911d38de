// Bits and numbers that CUDA and HIP give the same meaning.
#pragma once

#include <cstdint>

namespace kv8::gpu {

constexpr unsigned kStreamNonBlocking = 1;  // not ordered with the default stream
constexpr unsigned kEventWithoutTiming = 2;
constexpr unsigned kHostMemoryPortable = 1, kHostMemoryMapped = 2;
constexpr int kCaptureThreadLocal = 1, kCaptureRelaxed = 2;
constexpr uint64_t kLaunchBuffer = 1, kLaunchBufferBytes = 2;
constexpr int kInvalidValue = 1, kNoDevice = 100;  // errors

}  // namespace kv8::gpu
