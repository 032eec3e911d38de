// Where a call of the test plug-in waits, so that a test makes others meanwhile: a stream that is wrapped with a gate's address
// as its native one waits there in kv8_stream_sync and kv8_graph_launch.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

struct Gate {
    std::atomic<bool> entered{false}, open{false}, left{false};

    uint64_t address() { return reinterpret_cast<uint64_t>(this); }
    void pass() {
        entered = true;
        while (!open) std::this_thread::yield();
        left = true;
    }
};
