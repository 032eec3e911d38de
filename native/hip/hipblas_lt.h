// Numbers of hipBLASLt since ROCm 6, whose header is no part of the build (AMD, hipBLASLt documentation, "API reference").
#pragma once

#include "gpu/host/vendor/blas_lt.h"

namespace kv8::hip {

inline const gpu::BlasLtVendor kHipblasLt{
    "hipblasLt",
    {"libhipblaslt.so.1", "libhipblaslt.so.0"},
    "It comes with AMD's ROCm 6 or 7, as package hipblaslt: install that, add its directory to LD_LIBRARY_PATH, or "
    "name the "
    "file with KV8_BLAS_LIBRARY or -Dkv.blas.library.",
    2,    // HIPBLAS_COMPUTE_32F
    112,  // HIPBLAS_OP_T
    0,
    2,
    3,
    4,  // HIPBLASLT_MATMUL_DESC_TRANSA, _EPILOGUE, _BIAS_POINTER, _BIAS_DATA_TYPE
    -1,
    -1,
    24,  // hipblasLtMatmulAlgo_t
    false,
    {{1, "HIPBLAS_STATUS_NOT_INITIALIZED", KV8_DEVICE_ERROR},
     {2, "HIPBLAS_STATUS_ALLOC_FAILED", KV8_OUT_OF_MEMORY},
     {3, "HIPBLAS_STATUS_INVALID_VALUE", KV8_UNSUPPORTED},
     {4, "HIPBLAS_STATUS_MAPPING_ERROR", KV8_DEVICE_ERROR},
     {5, "HIPBLAS_STATUS_EXECUTION_FAILED", KV8_DEVICE_ERROR},
     {6, "HIPBLAS_STATUS_INTERNAL_ERROR", KV8_DEVICE_ERROR},
     {7, "HIPBLAS_STATUS_NOT_SUPPORTED", KV8_UNSUPPORTED},
     {8, "HIPBLAS_STATUS_ARCH_MISMATCH", KV8_UNSUPPORTED}},
};

}  // namespace kv8::hip
