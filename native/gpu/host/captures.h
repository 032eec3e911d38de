// The streams that kv8_graph_begin is capturing into graphs, and by which threads. A driver refuses most of what a capture
// cannot bear, but then the capture is lost: what can be told before is refused here, with what to do.
#pragma once

#include <map>
#include <mutex>
#include <thread>

#include "gpu/host/driver.h"

namespace kv8::gpu {

class Captures {
  public:
    explicit Captures(DriverDevice& driver) : driver_(driver) {}

    void begin(Stream stream);
    Graph end(Stream stream);
    void forget(Stream stream);  // it is destroyed, and its capture with it

    bool any_of_this_thread() const;
    // Refuses `call` for a thread that captures: the driver would end the capture.
    void require_none_of_this_thread(const char* call) const;

  private:
    DriverDevice& driver_;
    mutable std::mutex turn_;
    std::map<Stream, std::thread::id> by_stream_;
};

}  // namespace kv8::gpu
