// The emulated device's matrix products: loops on the host.
#pragma once

#include "gpu/host/matrix_products.h"

namespace kv8::emulator {

// Products and sums in float32, in one order whatever the number of rows; done when the call returns.
class MatrixProducts final : public gpu::MatrixProducts {
  public:
    void multiply(const kv8_matmul_args& args, gpu::Stream stream) override;
};

}  // namespace kv8::emulator
