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
    // What no capture bears: of this stream, or of the calling thread where `stream` is null. Breaks and refuses it.
    void forbid(const char* call, const gpu::Stream* stream = nullptr);

    void launch(gpu::Graph graph);
    void destroy(gpu::Graph graph);

  private:
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
