// Numbers of cuBLASLt, whose header is no part of the build (NVIDIA, cuBLAS documentation, "Using the cuBLASLt API").
#pragma once

#include "gpu/host/vendor/blas_lt.h"

namespace kv8::cuda {

inline const gpu::BlasLtVendor kCublasLt{
    "cublasLt",
    {"libcublasLt.so.13", "libcublasLt.so.12"},
    "It comes with NVIDIA's CUDA toolkit, and as package libcublas-13-0 or libcublas-12-8 and the like: install that, "
    "add its "
    "directory to LD_LIBRARY_PATH, or name the file with KV8_BLAS_LIBRARY or -Dkv.blas.library. A pip package "
    "nvidia-cublas "
    "has it too, in nvidia/cu13/lib.",
    68,  // CUBLAS_COMPUTE_32F
    1,   // CUBLAS_OP_T
    3,
    7,
    8,
    26,  // CUBLASLT_MATMUL_DESC_TRANSA, _EPILOGUE, _BIAS_POINTER, _BIAS_DATA_TYPE
    3,
    5,   // CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, _MIN_ALIGNMENT_A_BYTES
    64,  // cublasLtMatmulAlgo_t
    true,
    {{1, "CUBLAS_STATUS_NOT_INITIALIZED", KV8_DEVICE_ERROR},
     {3, "CUBLAS_STATUS_ALLOC_FAILED", KV8_OUT_OF_MEMORY},
     {7, "CUBLAS_STATUS_INVALID_VALUE", KV8_UNSUPPORTED},
     {8, "CUBLAS_STATUS_ARCH_MISMATCH", KV8_UNSUPPORTED},
     {11, "CUBLAS_STATUS_MAPPING_ERROR", KV8_DEVICE_ERROR},
     {13, "CUBLAS_STATUS_EXECUTION_FAILED", KV8_DEVICE_ERROR},
     {14, "CUBLAS_STATUS_INTERNAL_ERROR", KV8_DEVICE_ERROR},
     {15, "CUBLAS_STATUS_NOT_SUPPORTED", KV8_UNSUPPORTED},
     {16, "CUBLAS_STATUS_LICENSE_ERROR", KV8_DEVICE_ERROR}},
};

}  // namespace kv8::cuda
