// Streams and graphs: their handles, and that none is destroyed under a call.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "host_devices.h"
#include "plugin/gate.h"

namespace {

using kv8_test::cpu;
using kv8_test::load;
using kv8_test::open;

TEST(Stream, IsRefusedAfterDestroyAndWhenInvented) {
    kv8_device* device = open(cpu());
    kv8_stream* stream = nullptr;
    ASSERT_EQ(kv8_stream_create(device, &stream), KV8_OK);
    EXPECT_EQ(kv8_stream_sync(device, stream), KV8_OK);
    EXPECT_EQ(kv8_stream_sync(device, nullptr), KV8_OK);
    ASSERT_EQ(kv8_stream_destroy(device, stream), KV8_OK);
    int invented = 0;
    for (kv8_stream* handle : {stream, reinterpret_cast<kv8_stream*>(&invented)}) {
        EXPECT_REFUSED(kv8_stream_sync(device, handle), KV8_INVALID_ARGUMENT, "is not a stream of this device");
        EXPECT_REFUSED(kv8_stream_destroy(device, handle), KV8_INVALID_ARGUMENT, "is not a stream of this device");
        EXPECT_REFUSED(kv8_fill(device, handle, {0, 0}, 0), KV8_INVALID_ARGUMENT, "is not a stream of this device");
    }
    EXPECT_REFUSED(kv8_stream_destroy(device, nullptr), KV8_INVALID_ARGUMENT, "stream is null");
    EXPECT_REFUSED(kv8_stream_create(device, nullptr), KV8_INVALID_ARGUMENT, "out is null");
    EXPECT_EQ(kv8_device_close(device), KV8_OK);
}

TEST(Graph, IsRefusedAfterDestroyAndWhenInvented) {
    kv8_backend* backend = load("kv8_test_plugin");
    kv8_device *device = open(backend), *other = open(backend);
    kv8_graph *graph = nullptr, *another = nullptr;
    ASSERT_EQ(kv8_graph_begin(device, nullptr), KV8_OK);
    ASSERT_EQ(kv8_graph_end(device, nullptr, &graph), KV8_OK);
    ASSERT_EQ(kv8_graph_end(device, nullptr, &another), KV8_OK);
    // Each is launched by its own handle.
    for (kv8_graph* each : {graph, another, graph, another}) EXPECT_EQ(kv8_graph_launch(device, nullptr, each), KV8_OK);
    EXPECT_REFUSED(kv8_graph_launch(device, nullptr, graph), KV8_DEVICE_ERROR, "tired of its 3rd launch");
    EXPECT_REFUSED(kv8_graph_launch(other, nullptr, graph), KV8_INVALID_ARGUMENT, "is not a graph of this device");
    EXPECT_EQ(kv8_graph_destroy(device, graph), KV8_OK);
    int invented = 0;
    for (kv8_graph* handle : {graph, reinterpret_cast<kv8_graph*>(&invented)}) {
        EXPECT_REFUSED(kv8_graph_launch(device, nullptr, handle), KV8_INVALID_ARGUMENT,
                       "is not a graph of this device");
        EXPECT_REFUSED(kv8_graph_destroy(device, handle), KV8_INVALID_ARGUMENT, "is not a graph of this device");
    }
    EXPECT_REFUSED(kv8_graph_begin(device, reinterpret_cast<kv8_stream*>(&invented)), KV8_INVALID_ARGUMENT,
                   "is not a stream of this device");
    EXPECT_EQ(kv8_device_close(device), KV8_OK);  // destroys the other, as the leak check sees
    EXPECT_EQ(kv8_device_close(other), KV8_OK);
}

// Destroys a handle while a call with it waits at the gate.
template <class Call, class Destroy, class Refused>
void expect_destroyed_after(Gate& gate, const Call& call, const Destroy& destroy, const Refused& refused) {
    std::thread caller([&] { EXPECT_EQ(call(), KV8_OK) << kv8_last_error(); });
    while (!gate.entered) std::this_thread::yield();
    std::atomic<bool> destroyed{false};
    std::thread destroyer([&] {
        EXPECT_EQ(destroy(), KV8_OK) << kv8_last_error();
        destroyed = true;
        EXPECT_TRUE(gate.left) << "destroyed under a call";
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_FALSE(destroyed);
    refused();  // at once: the handle is no more
    gate.open = true;
    caller.join();
    destroyer.join();
}

TEST(Stream, IsDestroyedWhenCallsUnderWayHaveDoneWithIt) {
    Gate gate;
    kv8_device* device = open(load("kv8_test_plugin"));
    kv8_stream* stream = nullptr;
    ASSERT_EQ(kv8_stream_wrap(device, gate.address(), &stream), KV8_OK);
    expect_destroyed_after(
        gate, [&] { return kv8_stream_sync(device, stream); }, [&] { return kv8_stream_destroy(device, stream); },
        [&] {
            EXPECT_REFUSED(kv8_fill(device, stream, {0, 0}, 0), KV8_INVALID_ARGUMENT, "is not a stream of this device");
            EXPECT_REFUSED(kv8_stream_destroy(device, stream), KV8_INVALID_ARGUMENT, "is not a stream of this device");
        });
    EXPECT_EQ(kv8_device_close(device), KV8_OK);
}

TEST(Graph, IsDestroyedWhenCallsUnderWayHaveDoneWithIt) {
    Gate gate;
    kv8_device* device = open(load("kv8_test_plugin"));
    kv8_stream* stream = nullptr;
    kv8_graph* graph = nullptr;
    ASSERT_EQ(kv8_stream_wrap(device, gate.address(), &stream), KV8_OK);
    ASSERT_EQ(kv8_graph_end(device, nullptr, &graph), KV8_OK);
    expect_destroyed_after(
        gate, [&] { return kv8_graph_launch(device, stream, graph); }, [&] { return kv8_graph_destroy(device, graph); },
        [&] {
            EXPECT_REFUSED(kv8_graph_launch(device, nullptr, graph), KV8_INVALID_ARGUMENT,
                           "is not a graph of this device");
        });
    EXPECT_EQ(kv8_device_close(device), KV8_OK);
}

TEST(Stream, OfTheCpuWrapsOnlyZero) {
    kv8_device* device = open(cpu());
    kv8_stream* stream = nullptr;
    ASSERT_EQ(kv8_stream_wrap(device, 0, &stream), KV8_OK);
    EXPECT_EQ(kv8_stream_destroy(device, stream), KV8_OK);
    EXPECT_REFUSED(kv8_stream_wrap(device, 0x1234, &stream), KV8_INVALID_ARGUMENT, "native is 0x1234");
    EXPECT_REFUSED(kv8_stream_wrap(device, 0, nullptr), KV8_INVALID_ARGUMENT, "out is null");
    EXPECT_EQ(kv8_device_close(device), KV8_OK);
}

}  // namespace
