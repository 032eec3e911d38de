// A GPU driver without a GPU: device memory is the host's, kernels are only written down, copies and fills happen as
// late as a driver may do them, and a graph's as often as it is launched. libcuda and libamdhip64 stubs (cuda_stub.cpp, hip_stub.cpp) put their vendor's names on
// it.
//
// A test opens the stub library itself and reaches the state through kv8_stub(). Where it cannot, as from Java, the
// environment says the same when the library is loaded: KV8_STUB_DEVICES=0, KV8_STUB_ARCH=sm_75,
// KV8_STUB_FAIL=cuInit=100,cuMemAlloc_v2#2=2 (the second call from there on gives error 2).
#pragma once

#include <cstdint>
#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace kv8_test {

struct Stub;
extern "C" Stub* kv8_stub();

// Whether a driver bears a call while a stream is captured in a mode that is not relaxed: not, of the thread that captures; or
// not of any.
enum class Capture { kAllowed, kRefused, kRefusedToAll };

struct Stub {
    static constexpr int kCallersDevice = 7;

    struct Failure {
        std::string function;
        int call;  // 1: the next one
        int code;
    };
    struct Launch {
        std::string kernel;
        unsigned blocks, threads, shared_bytes;
        uint64_t stream;
        std::vector<unsigned char> params;
        uint64_t end;  // of the list that names the parameters
    };
    struct Memory {
        void* base;
        uint64_t bytes;
        bool host;
    };
    // The machine.
    int devices = 1;
    std::string arch;
    uint64_t memory_bytes = uint64_t{1} << 32;
    std::vector<Failure> failures;

    // What happened.
    std::map<std::string, int> calls;
    std::vector<Launch> launches;
    std::map<std::string, int> shared_bytes_allowed;  // by kernel
    int broken_captures = 0;                          // calls that may not be made while a stream is captured
    int calls_without_device = 0;                     // for which no device was current

    // What exists.
    std::map<uint64_t, Memory> memory;
    std::set<uint64_t> streams, modules, events, capturing;
    std::set<uint64_t> waiting_streams;  // of these streams, those that wait for the default one
    using Work = std::vector<std::function<void(uint64_t stream)>>;
    std::map<uint64_t, Work> graphs, executables;
    int contexts = 0;

    // Of the one thread that tests call from.
    int capture_mode = 0;                 // 2: relaxed
    int current_device = kCallersDevice;  // HIP
    int current_contexts = 0;             // CUDA

    bool is_empty() const {
        return memory.empty() && streams.empty() && modules.empty() && events.empty() && graphs.empty() &&
               executables.empty() && captures.empty() && contexts == 0;
    }

    const Memory* find(uint64_t address) const {
        auto after = memory.upper_bound(address);
        if (after == memory.begin()) return nullptr;
        const auto& [begin, m] = *--after;
        return address < begin + m.bytes ? &m : nullptr;
    }

    bool is_thread_as_before() const {
        return capture_mode == 0 && current_device == kCallersDevice && current_contexts == 0;
    }

    // Drops what exists and puts the thread's state back, after a failure that made them stay.
    void forget() {
        for (const auto& [address, m] : memory) free(m.base);
        memory.clear();
        streams.clear();
        modules.clear();
        events.clear();
        queues.clear();
        graphs.clear();
        executables.clear();
        captures.clear();
        capturing.clear();
        contexts = capture_mode = current_contexts = 0;
        current_device = kCallersDevice;
    }

    // For the stubs.
    struct Mark {
        uint64_t stream;
        uint64_t work;  // how much of it
    };
    struct Captured {
        Work work;
        bool broken = false;
        std::thread::id thread = std::this_thread::get_id();
    };
    struct Queue {
        uint64_t done = 0;
        std::deque<std::function<void()>> waiting;
    };
    std::mutex turn;
    uint64_t next_handle = 0x1000;
    std::map<uint64_t, std::string> kernels;
    std::map<uint64_t, Queue> queues;       // by stream
    std::map<uint64_t, Mark> recorded;      // by event
    std::map<uint64_t, Captured> captures;  // by stream, those begun through the driver; all are in `capturing`

    int failure_of(const char* function, Capture when_captured);
    int allocate(uint64_t* out, uint64_t bytes, bool host);
    int release(uint64_t address, bool host);
    int create(std::set<uint64_t>& handles, uint64_t* out);
    int function(uint64_t* out, uint64_t module, const char* name);
    int launch(uint64_t function, unsigned blocks, unsigned threads, unsigned shared_bytes, uint64_t stream,
               void** extra);
    int copy(uint64_t to, uint64_t from, uint64_t bytes, uint64_t stream);
    int fill(uint64_t to, unsigned char value, uint64_t bytes, uint64_t stream);
    int record(uint64_t event, uint64_t stream);
    int synchronize(uint64_t stream);
    int wait(uint64_t event);
    int synchronize_all();
    int destroy_stream(uint64_t stream);
    int begin_capture(uint64_t stream, int mode);
    int end_capture(uint64_t stream, uint64_t* graph);  // null: only ends it
    int instantiate(uint64_t* executable, uint64_t graph, unsigned long long flags);
    int launch_graph(uint64_t executable, uint64_t stream);

  private:
    void put(uint64_t stream, const Work::value_type& work);
    void drain(uint64_t stream, uint64_t work);
};

constexpr int kInvalidValue = 1, kOutOfMemory = 2, kNoDevice = 100, kInvalidDevice = 101, kNoBinary = 209,
              kInvalidHandle = 400, kIllegalState = 401, kCaptureUnsupported = 900, kCaptureInvalidated = 901;

// A call of the driver, one at a time.
class Entry {
  public:
    explicit Entry(const char* function, Capture capture = Capture::kAllowed)
        : stub_(*kv8_stub()), lock_(stub_.turn), failure_(stub_.failure_of(function, capture)) {}

    template <class Body>
    int operator()(const Body& body) {
        return failure_ != 0 ? failure_ : body(stub_);
    }
    bool fails() const { return failure_ != 0; }
    // What ends something ends it, whatever it reports.
    template <class Body>
    int always(const Body& body) {
        const int code = body(stub_);
        return failure_ != 0 ? failure_ : code;
    }

  private:
    Stub& stub_;
    std::lock_guard<std::mutex> lock_;
    const int failure_;
};

struct ErrorWords {
    const char *name, *text;
};
ErrorWords words_of(int code, bool cuda);

}  // namespace kv8_test
