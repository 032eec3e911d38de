// Memory of a CPU device: what callers allocate, and the kernels' own scratch.
#pragma once

#include <cstdint>
#include <mutex>
#include <unordered_map>

namespace kv8::cpu {

// Allocations by address, so that an address that was never given out, or was freed, is refused. Thread-safe.
class Memory {
  public:
    Memory() = default;
    ~Memory();
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;

    uint64_t allocate(uint64_t bytes);  // throws Refusal
    void release(uint64_t ptr);         // throws Refusal
    uint64_t allocated_bytes() const;

  private:
    mutable std::mutex turn_;
    std::unordered_map<uint64_t, uint64_t> sizes_;
    uint64_t total_ = 0;
};

// One private buffer per worker, kept and only ever grown: a warm device does not allocate in a call.
class WorkerScratch {
  public:
    WorkerScratch() = default;
    ~WorkerScratch();
    WorkerScratch(const WorkerScratch&) = delete;
    WorkerScratch& operator=(const WorkerScratch&) = delete;

    void reserve(int workers, uint64_t bytes_each);  // throws Refusal
    void* of(int worker) const { return static_cast<char*>(base_) + stride_ * static_cast<uint64_t>(worker); }

  private:
    void* base_ = nullptr;
    uint64_t stride_ = 0;  // a multiple of 128: workers share no pair of cache lines
    uint64_t capacity_ = 0;
};

}  // namespace kv8::cpu
