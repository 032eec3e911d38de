#include "emulator/graphs.h"

#include <utility>

#include "dispatch/error.h"

namespace kv8::emulator {

bool Graphs::is_capturing(gpu::Stream stream) const {
    std::lock_guard<std::mutex> lock(turn_);
    return captures_.count(stream) != 0;
}

void Graphs::begin(gpu::Stream stream) {
    std::lock_guard<std::mutex> lock(turn_);
    if (stream == 0) refuse(KV8_INVALID_ARGUMENT, "the emulator captures no default stream");
    if (!captures_.emplace(stream, Capture{std::this_thread::get_id(), {}, false}).second)
        refuse(KV8_INVALID_ARGUMENT, "the emulator is capturing stream %llu already",
               static_cast<unsigned long long>(stream));
}

gpu::Graph Graphs::end(gpu::Stream stream) {
    std::lock_guard<std::mutex> lock(turn_);
    const auto found = captures_.find(stream);
    if (found == captures_.end() || found->second.thread != std::this_thread::get_id())
        refuse(KV8_INVALID_ARGUMENT, "this thread has not begun to capture stream %llu",
               static_cast<unsigned long long>(stream));
    const Capture capture = std::move(found->second);
    captures_.erase(found);
    if (capture.broken) refuse(KV8_INVALID_ARGUMENT, "a call that cannot be captured has broken the capture");
    graphs_[next_] = capture.work;
    return next_++;
}

void Graphs::drop(gpu::Stream stream) {
    std::lock_guard<std::mutex> lock(turn_);
    captures_.erase(stream);
}

void Graphs::record(gpu::Stream stream, Work work) {
    std::lock_guard<std::mutex> lock(turn_);
    Capture& capture = captures_.at(stream);
    if (capture.broken) refuse(KV8_INVALID_ARGUMENT, "an earlier call has broken the capture");
    capture.work.push_back(std::move(work));
}

template <class Condition>
void Graphs::break_where(const Condition& condition, const char* call) {
    std::lock_guard<std::mutex> lock(turn_);
    bool breaks = false;
    for (auto& [captured, capture] : captures_)
        if (condition(captured, capture.thread)) capture.broken = breaks = true;
    if (breaks) refuse(KV8_INVALID_ARGUMENT, "%s breaks the capture of a stream", call);
}

void Graphs::forbid(const char* call, gpu::Stream stream) {
    const std::thread::id self = std::this_thread::get_id();
    break_where([&](gpu::Stream captured, std::thread::id thread) { return captured == stream || thread == self; },
                call);
}

void Graphs::forbid_to_all(const char* call) {
    break_where([](gpu::Stream, std::thread::id) { return true; }, call);
}

void Graphs::launch(gpu::Graph graph) {
    std::vector<Work> work;
    {
        std::lock_guard<std::mutex> lock(turn_);
        const auto found = graphs_.find(graph);
        if (found == graphs_.end())
            refuse(KV8_INTERNAL_ERROR, "there is no graph %llu", static_cast<unsigned long long>(graph));
        work = found->second;
    }
    for (const Work& each : work) each();
}

void Graphs::destroy(gpu::Graph graph) {
    std::lock_guard<std::mutex> lock(turn_);
    if (graphs_.erase(graph) != 1)
        refuse(KV8_INTERNAL_ERROR, "there is no graph %llu", static_cast<unsigned long long>(graph));
}

}  // namespace kv8::emulator
