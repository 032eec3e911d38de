// What a driver's error code means to the caller. CUDA and HIP number these errors alike.
#pragma once

#include <string>

namespace kv8::gpu {

// Throws DeviceLost or a Refusal. `text` is the failed call and the vendor's words for `code`.
[[noreturn]] void refuse_driver_error(int code, const std::string& text);

}  // namespace kv8::gpu
