#include "gpu/host/staging.h"

#include <algorithm>
#include <cstring>

#include "dispatch/error.h"

namespace kv8::gpu {
namespace {

constexpr uint64_t kLeastBytes = 64 << 10;

uint64_t capacity_for(uint64_t bytes) {
    uint64_t capacity = kLeastBytes;
    while (capacity < bytes) capacity *= 2;
    return capacity;
}

}  // namespace

StagingRing::~StagingRing() {
    for (const Buffer& buffer : buffers_) {
        if (buffer.event != 0) quietly([&] { driver_.destroy_event(buffer.event); });
        if (buffer.address != 0) quietly([&] { driver_.release(buffer.address, true); });
    }
}

void StagingRing::grow(Buffer& buffer, uint64_t bytes) {
    if (buffer.event == 0) buffer.event = driver_.create_event();
    if (buffer.capacity >= bytes) return;
    const uint64_t capacity = capacity_for(bytes), address = driver_.allocate_host(capacity);
    const uint64_t outgrown = buffer.address;
    buffer.address = address;
    buffer.capacity = capacity;
    if (outgrown != 0) driver_.release(outgrown, true);
}

void StagingRing::upload(Stream stream, uint64_t to, const void* from, size_t bytes) {
    if (bytes == 0) return;
    if (driver_.is_capturing(stream))
        refuse(KV8_INVALID_ARGUMENT,
               "The stream is being captured into a graph, which would repeat this step's data in every replay; make "
               "the plan on a stream that is not captured, before each replay.");
    std::lock_guard<std::mutex> lock(turn_);
    Buffer& buffer = buffers_[static_cast<size_t>(next_)];
    if (buffer.event != 0) driver_.wait(buffer.event);
    grow(buffer, bytes);
    std::memcpy(reinterpret_cast<void*>(buffer.address), from, bytes);
    driver_.copy(to, buffer.address, bytes, stream);
    driver_.record(buffer.event, stream);
    next_ = (next_ + 1) % kBuffers;
}

}  // namespace kv8::gpu
