// Matrix products on a device: its vendor's library, or the emulator's loops.
#pragma once

#include "gpu/host/driver.h"

namespace kv8::gpu {

class MatrixProducts {
  public:
    virtual ~MatrixProducts() = default;

    // Puts the product on the stream. The dispatcher has checked the arguments. A shape's first call may allocate; any later
    // one neither allocates nor waits. Calls may come from any thread.
    virtual void multiply(const kv8_matmul_args& args, Stream stream) = 0;
};

}  // namespace kv8::gpu
