#include "gpu/host/captures.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <thread>

#include "dispatch/error.h"

namespace kv8::gpu {
namespace {

struct Capture {
    int ordinal;
    std::thread::id thread;
};

// Of all devices.
struct All {
    std::mutex turn;
    std::map<std::pair<const Captures*, Stream>, Capture> captures;
    std::map<int, std::mutex>
        waits;  // by ordinal: held while all of a GPU's streams are waited for, or a capture begins

    std::mutex& wait_of(int ordinal) {
        const std::lock_guard<std::mutex> lock(turn);
        return waits[ordinal];
    }
    template <class Condition>
    bool has(const Condition& condition) {
        const std::lock_guard<std::mutex> lock(turn);
        return std::any_of(captures.begin(), captures.end(), [&](const auto& each) { return condition(each.second); });
    }
};

All& all() {
    static All& only = *new All;  // lives as long as any device
    return only;
}

}  // namespace

Captures::~Captures() {
    const std::lock_guard<std::mutex> lock(all().turn);
    auto& captures = all().captures;
    for (auto each = captures.begin(); each != captures.end();)
        each = each->first.first == this ? captures.erase(each) : std::next(each);
}

void Captures::begin(Stream stream) {
    if (stream == 0)
        refuse(
            KV8_INVALID_ARGUMENT,
            "The device's default stream cannot be captured into a graph. Capture a stream of kv8_stream_create; the "
            "graph can be launched on any.");
    if (driver_.is_capturing(stream))
        refuse(KV8_INVALID_ARGUMENT, "The stream is being captured into a graph already; end that capture first.");
    if (driver_.waits_for_default_stream(stream))
        refuse(
            KV8_INVALID_ARGUMENT,
            "The stream waits for the default stream, so that any call on that one would break its capture. Capture a "
            "stream of kv8_stream_create, or create yours with the flag %s.",
            driver_.traits().arch.rfind("gfx", 0) == 0 ? "hipStreamNonBlocking" : "CU_STREAM_NON_BLOCKING");
    {
        const std::lock_guard<std::mutex> wait(all().wait_of(ordinal_));
        const std::lock_guard<std::mutex> lock(all().turn);
        all().captures[{this, stream}] = {ordinal_, std::this_thread::get_id()};
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
        const std::lock_guard<std::mutex> lock(all().turn);
        const auto found = all().captures.find({this, stream});
        if (found == all().captures.end())
            refuse(KV8_INVALID_ARGUMENT, "The stream is not being captured into a graph; call kv8_graph_begin first.");
        if (found->second.thread != std::this_thread::get_id())
            refuse(
                KV8_INVALID_ARGUMENT,
                "Another thread is capturing the stream into a graph; the thread that called kv8_graph_begin ends it.");
    }
    try {
        const Graph graph = driver_.end_capture(stream);
        forget(stream);
        return graph;
    } catch (...) {
        forget(stream);
        throw;
    }
}

void Captures::forget(Stream stream) {
    const std::lock_guard<std::mutex> lock(all().turn);
    all().captures.erase({this, stream});
}

bool Captures::any_of_this_thread() {
    const std::thread::id self = std::this_thread::get_id();
    return all().has([&](const Capture& capture) { return capture.thread == self; });
}

void Captures::require_none_of_this_thread(const char* call) {
    if (any_of_this_thread())
        refuse(
            KV8_INVALID_ARGUMENT,
            "This thread is capturing a stream into a graph, which cannot hold %s; call it before kv8_graph_begin or "
            "after kv8_graph_end.",
            call);
}

bool Captures::unless_any(const std::function<void()>& wait) const {
    const std::lock_guard<std::mutex> lock(all().wait_of(ordinal_));
    if (all().has([&](const Capture& capture) { return capture.ordinal == ordinal_; })) return false;
    wait();
    return true;
}

}  // namespace kv8::gpu
