#include "emulator/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#define KV8_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KV8_ASAN 1
#endif
#endif

#if defined(KV8_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace kv8::emulator {
namespace {

constexpr size_t kStackBytes = 256 << 10, kPage = 4096, kStagger = 320, kMostStagger = 8192;

Fiber* switched_from;  // by the switch under way

void announce([[maybe_unused]] Fiber& from, [[maybe_unused]] Fiber& to, [[maybe_unused]] bool ends) {
    switched_from = &from;
#if defined(KV8_ASAN)
    __sanitizer_start_switch_fiber(ends ? nullptr : &from.fake_stack, to.stack, to.stack_bytes);
#endif
}

void arrived([[maybe_unused]] void* fake_stack) {
#if defined(KV8_ASAN)
    // This is also how the bounds of the thread's own stack become known.
    __sanitizer_finish_switch_fiber(fake_stack, &switched_from->stack, &switched_from->stack_bytes);
#endif
}

}  // namespace

void make_stack(Fiber& fiber) {
    if (fiber.stack != nullptr) return;
    void* memory = mmap(nullptr, kStackBytes + kPage, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    mprotect(memory, kPage, PROT_NONE);
    fiber.stack = static_cast<char*>(memory) + kPage;
    fiber.stack_bytes = kStackBytes;
}

#if defined(__x86_64__)

// Saves what the ABI asks a function to preserve on the stack that it leaves, and takes it from the one that it enters.
extern "C" __attribute__((visibility("hidden"))) void kv8_switch_stacks(void** save, void* to);
asm(R"(
    .text
    .hidden kv8_switch_stacks
    .globl kv8_switch_stacks
    .type kv8_switch_stacks, @function
kv8_switch_stacks:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
    .size kv8_switch_stacks, . - kv8_switch_stacks
)");

void start_fiber(Fiber& fiber, int index, void (*entry)()) {
    const size_t stagger = static_cast<size_t>(index) * kStagger % kMostStagger;
    char* top = const_cast<char*>(static_cast<const char*>(fiber.stack)) + fiber.stack_bytes - stagger;
    void** frame = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(top) / 16 * 16);
    *--frame = nullptr;  // entry's return address: so the stack is aligned as after a call
    *--frame = reinterpret_cast<void*>(entry);
    for (int saved = 0; saved < 6; saved++) *--frame = nullptr;
    fiber.stack_pointer = frame;
    fiber.fake_stack = nullptr;
}

void switch_fibers(Fiber& from, Fiber& to) {
    announce(from, to, false);
    kv8_switch_stacks(&from.stack_pointer, to.stack_pointer);
    arrived(from.fake_stack);
}

void end_fiber(Fiber& from, Fiber& to) {
    announce(from, to, true);
    kv8_switch_stacks(&from.stack_pointer, to.stack_pointer);
    abort();
}

#else

void start_fiber(Fiber& fiber, int, void (*entry)()) {
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = const_cast<void*>(fiber.stack);
    fiber.context.uc_stack.ss_size = fiber.stack_bytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, entry, 0);
    fiber.fake_stack = nullptr;
}

void switch_fibers(Fiber& from, Fiber& to) {
    announce(from, to, false);
    swapcontext(&from.context, &to.context);
    arrived(from.fake_stack);
}

void end_fiber(Fiber& from, Fiber& to) {
    announce(from, to, true);
    setcontext(&to.context);
    abort();
}

#endif

void fiber_entered() { arrived(nullptr); }

void forget_frames([[maybe_unused]] Fiber& fiber) {
#if defined(KV8_ASAN)
    __asan_unpoison_memory_region(fiber.stack, fiber.stack_bytes);
#endif
}

}  // namespace kv8::emulator
