// cuBLASLt and hipBLASLt without a GPU (blas_lt_stub.cpp): device memory is the host's, as the stub drivers have it, and a
// product is really computed from the descriptors that the library was given, in float64 and at once. A test opens the stub
// library itself and reaches the state through kv8_blas_stub().
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace kv8_test {

struct BlasStub;
extern "C" BlasStub* kv8_blas_stub();

struct BlasStub {
    struct Product {
        int algorithm;  // the number that the heuristic gave it, from 1
        uint64_t rows, outputs, inputs;
        uint64_t workspace, workspace_bytes, stream;
    };

    // What the heuristic answers with: how many candidates, of which the first few do not do.
    int candidates = 3;
    int unfit = 0;
    uint64_t workspace_of_row = 0;        // that an algorithm wants, asked about a number of rows
    std::map<std::string, int> failures;  // a function's next call gives this code

    std::map<std::string, int> calls;
    std::vector<Product> products;
    std::vector<uint64_t> rows_of_heuristics;
    uint32_t reduction_schemes = 7, alignments[4] = {256, 256, 256, 256};  // of the latest heuristic
    std::set<void*> objects;                                               // not destroyed yet
    int next_algorithm = 1;
};

}  // namespace kv8_test
