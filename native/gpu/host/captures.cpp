#include "gpu/host/captures.h"

#include <algorithm>

#include "dispatch/error.h"

namespace kv8::gpu {

void Captures::begin(Stream stream) {
    if (stream == 0)
        refuse(
            KV8_INVALID_ARGUMENT,
            "The device's default stream cannot be captured into a graph. Capture a stream of kv8_stream_create; the "
            "graph can be launched on any.");
    if (driver_.is_capturing(stream))
        refuse(KV8_INVALID_ARGUMENT, "The stream is being captured into a graph already; end that capture first.");
    {
        std::lock_guard<std::mutex> lock(turn_);
        by_stream_[stream] = std::this_thread::get_id();
    }
    try {
        driver_.begin_capture(stream);
    } catch (...) {
        forget(stream);
        throw;
    }
}

Graph Captures::end(Stream stream) {
    {
        std::lock_guard<std::mutex> lock(turn_);
        const auto found = by_stream_.find(stream);
        if (found == by_stream_.end())
            refuse(KV8_INVALID_ARGUMENT, "The stream is not being captured into a graph; call kv8_graph_begin first.");
        if (found->second != std::this_thread::get_id())
            refuse(
                KV8_INVALID_ARGUMENT,
                "Another thread is capturing the stream into a graph; the thread that called kv8_graph_begin ends it.");
        by_stream_.erase(found);
    }
    return driver_.end_capture(stream);
}

void Captures::forget(Stream stream) {
    std::lock_guard<std::mutex> lock(turn_);
    by_stream_.erase(stream);
}

bool Captures::any_of_this_thread() const {
    std::lock_guard<std::mutex> lock(turn_);
    return std::any_of(by_stream_.begin(), by_stream_.end(),
                       [](const auto& capture) { return capture.second == std::this_thread::get_id(); });
}

void Captures::require_none_of_this_thread(const char* call) const {
    if (any_of_this_thread())
        refuse(
            KV8_INVALID_ARGUMENT,
            "This thread is capturing a stream into a graph, which cannot hold %s; call it before kv8_graph_begin or "
            "after kv8_graph_end.",
            call);
}

}  // namespace kv8::gpu
