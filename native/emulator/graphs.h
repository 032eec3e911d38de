// Streams of the emulated device that are being captured, and the graphs made of them: what was put on the stream, to be done
// in order by every launch. As a driver it ends a capture that a call breaks, and tells so when that is ended.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "gpu/host/driver.h"

namespace kv8::emulator {

class Graphs {
  public:
    using Work = std::function<void()>;

    bool is_capturing(gpu::Stream stream) const;
    void begin(gpu::Stream stream);
    gpu::Graph end(gpu::Stream stream);
    void drop(gpu::Stream stream);  // it is destroyed

    // For a stream that is being captured.
    void record(gpu::Stream stream, Work work);
    // Breaks the captures that do not bear the call, and refuses it: those of the calling thread, with that of `stream`, which
    // any thread's call breaks; or everybody's.
    void forbid(const char* call, gpu::Stream stream = 0);
    void forbid_to_all(const char* call);

    void launch(gpu::Graph graph);
    void destroy(gpu::Graph graph);

  private:
    template <class Condition>
    void break_where(const Condition& condition, const char* call);

    struct Capture {
        std::thread::id thread;
        std::vector<Work> work;
        bool broken = false;
    };

    mutable std::mutex turn_;
    std::map<gpu::Stream, Capture> captures_;
    std::map<gpu::Graph, std::vector<Work>> graphs_;
    gpu::Graph next_ = 1;
};

}  // namespace kv8::emulator
