// Stacks to run lanes on, and the switch between them: fifteen instructions on x86-64, swapcontext (a system call) elsewhere.
// AddressSanitizer is told of every switch.
#pragma once

#include <cstddef>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace kv8::emulator {

struct Fiber {
    void* stack_pointer = nullptr;  // while another fiber runs
    const void* stack = nullptr;    // its lowest address
    size_t stack_bytes = 0;
    void* fake_stack = nullptr;  // AddressSanitizer's
#if !defined(__x86_64__)
    ucontext_t context;
#endif
};

// Gives the fiber a stack that it keeps, with a page below it that nobody may touch.
void make_stack(Fiber& fiber);

// The next switch to this fiber calls `entry`, which does not return. `index` staggers the stacks' tops, which would otherwise
// share the same few lines of the cache.
void start_fiber(Fiber& fiber, int index, void (*entry)());

void switch_fibers(Fiber& from, Fiber& to);
[[noreturn]] void end_fiber(Fiber& from, Fiber& to);

// To be called first in a fiber's entry.
void fiber_entered();

// After a fiber was abandoned in the middle of its functions.
void forget_frames(Fiber& fiber);

}  // namespace kv8::emulator
