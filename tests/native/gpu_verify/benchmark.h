// Measures attention, cache writes, casts and matrix products on a device against its own copy bandwidth, and writes the results as JSON, one
// measurement a line.
#pragma once

#include <string>

#include "device_bench.h"

namespace kv8_verify {

struct BenchmarkOptions {
    bool tiny = false;         // the smallest of each, once: tries the program, measures nothing
    uint64_t most_gib = 1024;  // device memory to use at most
    std::string only;  // a regular expression: only cases in whose line it is found, as decode: "batch": 32, ...
};

// The JSON object's members from "copy_gbps" on, without braces. Progress goes to standard error.
std::string benchmark(const TestDevice& device, const BenchmarkOptions& options);

}  // namespace kv8_verify
