// What is taken from a device when no call uses it any more. That is known when all streams have been waited for, which nobody
// may do while one of the GPU's is captured: then it is done later, and nobody has to know of another's captures.
#pragma once

#include <functional>
#include <mutex>
#include <vector>

#include "gpu/host/captures.h"

namespace kv8::gpu {

class Removals {
  public:
    Removals(DriverDevice& driver, Captures& captures) : driver_(driver), captures_(captures) {}
    ~Removals();  // does the rest; the device is idle
    Removals(const Removals&) = delete;
    Removals& operator=(const Removals&) = delete;

    void add(std::function<void()> remove);
    // Does what is waiting, if nothing is captured.
    void try_all();

  private:
    using Waiting = std::vector<std::function<void()>>;

    Waiting take();

    DriverDevice& driver_;
    Captures& captures_;
    std::mutex turn_;  // guards what follows
    Waiting waiting_;
};

}  // namespace kv8::gpu
