// Runs one kernel of the test's own file on the emulator.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "dispatch/error.h"
#include "emulator/runtime.h"
#include "gpu/dialect.h"

namespace kv8_test {

constexpr int kSharedBytes = 8192;

// What the launch reports; nothing where all went well.
template <class Params>
std::string error_of(const char* kernel, const Params& params, int blocks = 1) {
    const kv8::emulator::Kernel* found = kv8::emulator::find_kernel(KV8_TEXT(KV8_MODULE), kernel);
    if (found == nullptr) return std::string("no kernel ") + kernel;
    try {
        kv8::emulator::run(*found, &params, blocks, kSharedBytes);
    } catch (const kv8::Refusal& refusal) {
        EXPECT_EQ(refusal.status, KV8_INTERNAL_ERROR);
        return refusal.message;
    }
    return "";
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

inline bool reversed() {
    const char* order = std::getenv("KV8_EMULATOR_ORDER");
    return order != nullptr && std::string(order) == "reversed";
}

#define EXPECT_ERROR(error, text)                                                                    \
    do {                                                                                             \
        const std::string message = error;                                                           \
        EXPECT_TRUE(contains(message, text)) << "expected: " << (text) << "\nmessage:  " << message; \
    } while (false)

}  // namespace kv8_test
