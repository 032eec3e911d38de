// Runs kernels: every thread of a block is a fiber, and one of them runs at a time, until it meets the others at a barrier or
// a warp instruction. Between two meetings the lanes of a warp run one after another, and so do the warps, both in ascending
// or all in descending order. Blocks follow one another in that order too. One launch at a time in a process.
#pragma once

#include <cstddef>
#include <cstdint>

#include "emulator/arch.h"
#include "emulator/async_copies.h"
#include "emulator/fiber.h"

namespace kv8::emulator {

// A line of a kernel, to name in messages.
struct Site {
    const char* file;
    int line;
};

// As a default argument: where the function is called that has it.
constexpr Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }

struct Warp;

// What a whole warp does at once. `perform` works on all lanes' operands when the last of them has come.
struct Meeting {
    const char* name;
    void (*perform)(Warp& warp);
};

enum class LaneState { kReady, kMeeting, kAtBarrier, kDone };

struct Lane {
    Fiber fiber;
    int thread = 0;
    Warp* warp = nullptr;
    Lane* next = nullptr;  // in its warp, in the launch's order
    LaneState state = LaneState::kReady;
    Site site{};               // where it waits
    void* operands = nullptr;  // of the meeting, on the lane's stack
    AsyncCopies copies;
};

struct Warp {
    Lane* lanes = nullptr;  // lane 0
    Lane* first = nullptr;  // in the launch's order
    Warp* next = nullptr;   // in the launch's order
    const Meeting* meeting = nullptr;
    int meeting_lanes = 0;
    int32_t ordered_until = 0;  // a stamp (shared_memory.h): what lanes of this warp did before is seen by all of them

    template <class Operands>
    Operands& operands(int lane) {
        return *static_cast<Operands*>(lanes[lane].operands);
    }
};

struct Grid {
    int block = 0, blocks = 0;
};

// Of the launch under way; read by the running lane only.
extern Lane* running;
extern Grid grid;

// The running lane waits here for all lanes of its warp, which perform the meeting together.
void meet(const Meeting& meeting, void* operands, Site site);
void sync_warp(Site site);
uint32_t shuffle(uint32_t x, int from, Site site = here());
bool any_lane(bool x, Site site);
// The running lane waits here for all threads of the block.
void sync_block(Site site);

// Ends the launch: what this thread did, at that site, is an error.
[[noreturn]] void fail(const Lane& lane, Site site, const char* format, ...) __attribute__((format(printf, 3, 4)));

// A kernel as KV8_KERNEL registers it.
struct Kernel {
    const char* module;
    const char* name;
    int threads;
    size_t params_bytes;
    void (*body)(const void* params);
    const Kernel* next = nullptr;

    Kernel(const char* module, const char* name, int threads, size_t params_bytes, void (*body)(const void*));
};

const Kernel* find_kernel(const char* module, const char* name);

// Runs the kernel to its end. Throws Refusal (KV8_INTERNAL_ERROR) with the first error of any of its threads.
void run(const Kernel& kernel, const void* params, int blocks, int shared_bytes);

}  // namespace kv8::emulator
