// The streams that kv8_graph_begin is capturing into graphs, and by which threads. A driver refuses most of what a capture
// cannot bear, but then the capture is lost: what can be told before is refused here, with what to do.
//
// Decision: a wait for all of a GPU's streams breaks every capture on it, whichever thread and whichever handle of the GPU it is
// of; drivers keep captures apart by threads in all else. So all devices of the process share what they know here.
#pragma once

#include <functional>

#include "gpu/host/driver.h"

namespace kv8::gpu {

class Captures {
  public:
    Captures(DriverDevice& driver, int ordinal) : driver_(driver), ordinal_(ordinal) {}
    ~Captures();  // with the device its captures go
    Captures(const Captures&) = delete;
    Captures& operator=(const Captures&) = delete;

    void begin(Stream stream);
    Graph end(Stream stream);
    void forget(Stream stream);  // it is destroyed, and its capture with it

    // Whether this thread captures, on any GPU. The driver ends its captures where it allocates, frees or waits.
    static bool any_of_this_thread();
    // Refuses `call` where it does.
    static void require_none_of_this_thread(const char* call);

    // Does what waits for all of the GPU's streams. False, and nothing is done, while one of them is captured; none begins to
    // be meanwhile.
    bool unless_any(const std::function<void()>& wait) const;

  private:
    DriverDevice& driver_;
    const int ordinal_;
};

}  // namespace kv8::gpu
