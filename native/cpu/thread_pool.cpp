// Workers come and go through a gate: a run opens it, whoever is awake enters, and the caller closes it when the items are
// used up and waits only for those inside. So a run never waits for a worker that is slow to wake up, and a short run is over
// before one does. Waiting is a short spin, then a futex; a run allocates nothing.
#include "cpu/thread_pool.h"

#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "dispatch/error.h"

namespace kv8::cpu {
namespace {

constexpr int kSpins = 2000;  // some tens of microseconds: about what waking a sleeping thread costs

void relax() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

static_assert(sizeof(std::atomic<uint32_t>) == 4, "a futex is a plain 32-bit word");

void sleep_while(std::atomic<uint32_t>& word, uint32_t value) {
    syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
}

void wake(std::atomic<uint32_t>& word, int threads) {
    syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, threads, nullptr, nullptr, 0);
}

// A new thread inherits the signal mask: workers leave the process's asynchronous signals to its own threads.
class SignalsBlocked {
  public:
    SignalsBlocked() {
        sigset_t blocked;
        sigfillset(&blocked);
        for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP}) sigdelset(&blocked, fault);
        pthread_sigmask(SIG_SETMASK, &blocked, &before_);
    }
    ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

  private:
    sigset_t before_;
};

}  // namespace

struct ThreadPool::State {
    // The gate: how many workers are inside, and two flags.
    static constexpr uint32_t kOpen = 1u << 16, kCallerSleeps = 1u << 17, kInside = kOpen - 1;

    std::mutex turn;
    std::vector<std::thread> workers;

    // The run, set before the gate opens and constant while anyone is inside.
    Call call = nullptr;
    const void* work = nullptr;
    int64_t items = 0;

    // Each on a cache line of its own.
    alignas(64) std::atomic<int64_t> next{0};
    alignas(64) std::atomic<uint32_t> gate{0};
    alignas(64) std::atomic<uint32_t> runs{0};  // what idle workers watch
    alignas(64) std::atomic<uint32_t> asleep{0};
    std::atomic<bool> stopping{false};

    void drain(int worker) {
        for (;;) {
            int64_t item = next.fetch_add(1, std::memory_order_relaxed);
            if (item >= items) return;
            call(work, item, worker);
        }
    }

    bool enter() {
        uint32_t seen = gate.load(std::memory_order_relaxed);
        while (seen & kOpen)
            if (gate.compare_exchange_weak(seen, seen + 1, std::memory_order_acquire, std::memory_order_relaxed))
                return true;
        return false;
    }

    void leave() {
        if (gate.fetch_sub(1, std::memory_order_release) - 1 == kCallerSleeps) wake(gate, 1);
    }

    // Returns the number of the run that came after `seen`.
    uint32_t next_run(uint32_t seen) {
        for (int i = 0; i < kSpins; i++) {
            uint32_t now = runs.load(std::memory_order_acquire);
            if (now != seen) return now;
            relax();
        }
        for (;;) {
            asleep.fetch_add(1);  // before the word is compared, so that a run either sees the sleeper or is seen by it
            sleep_while(runs, seen);
            asleep.fetch_sub(1);
            uint32_t now = runs.load(std::memory_order_acquire);
            if (now != seen) return now;
        }
    }

    void serve(int worker) {
        for (uint32_t seen = 0;;) {
            seen = next_run(seen);
            if (stopping.load(std::memory_order_relaxed)) return;
            if (!enter()) continue;
            drain(worker);
            leave();
        }
    }

    void announce(int useful_workers) {
        runs.fetch_add(1);
        if (asleep.load() > 0) wake(runs, useful_workers);
    }

    void await_empty_gate() {
        uint32_t seen = gate.fetch_and(~kOpen, std::memory_order_acquire) & ~kOpen;
        for (int i = 0; (seen & kInside) && i < kSpins; i++) {
            relax();
            seen = gate.load(std::memory_order_acquire);
        }
        while (seen & kInside) {
            seen = gate.fetch_or(kCallerSleeps, std::memory_order_acquire) | kCallerSleeps;
            if (!(seen & kInside)) break;
            sleep_while(gate, seen);
            seen = gate.load(std::memory_order_acquire);
        }
    }

    void stop() {
        stopping.store(true, std::memory_order_relaxed);
        announce(static_cast<int>(workers.size()));
        for (std::thread& worker : workers) worker.join();
    }
};

ThreadPool::ThreadPool(int threads) : state_(new State) {
    SignalsBlocked blocked;
    try {
        state_->workers.reserve(static_cast<size_t>(threads - 1));
        for (int worker = 1; worker < threads; worker++) {
            state_->workers.emplace_back([state = state_.get(), worker] { state->serve(worker); });
            pthread_setname_np(state_->workers.back().native_handle(), "kv8-worker");
        }
    } catch (const std::system_error& error) {
        const int started = this->threads();
        state_->stop();
        refuse(KV8_OUT_OF_MEMORY,
               "The system started %d of the %d threads that were asked for, the caller included: %s. Set "
               "options.threads (in Java -Dkv.cpu.threads) lower, or raise the limit of processes: ulimit -u, a "
               "container's pids.max.",
               started, threads, error.code().message().c_str());
    } catch (...) {
        state_->stop();
        throw;
    }
}

ThreadPool::~ThreadPool() { state_->stop(); }

int ThreadPool::threads() const { return static_cast<int>(state_->workers.size()) + 1; }

void ThreadPool::run_erased(int64_t items, Call call, const void* work) {
    State& s = *state_;
    std::lock_guard<std::mutex> lock(s.turn);
    if (items <= 1 || s.workers.empty()) {
        for (int64_t item = 0; item < items; item++) call(work, item, 0);
        return;
    }
    s.call = call;
    s.work = work;
    s.items = items;
    s.next.store(0, std::memory_order_relaxed);
    s.gate.store(State::kOpen, std::memory_order_release);
    s.announce(static_cast<int>(std::min<int64_t>(items - 1, static_cast<int64_t>(s.workers.size()))));
    s.drain(0);
    s.await_empty_gate();
}

}  // namespace kv8::cpu
