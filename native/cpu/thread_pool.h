// The worker threads of one CPU device. The calling thread works too, so a pool of one has no threads of its own.
#pragma once

#include <cstdint>
#include <memory>

namespace kv8::cpu {

class ThreadPool {
  public:
    explicit ThreadPool(int threads);  // throws Refusal where the system starts fewer
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    int threads() const;

    // Calls work(item, worker) once for every item in [0, items), worker in [0, threads()), and returns when all are done.
    // Items are handed out in ascending order as workers come free. One run at a time: concurrent callers take turns.
    // `work` must not throw and must not call run.
    template <class Work>
    void run(int64_t items, const Work& work) {
        run_erased(
            items, [](const void* w, int64_t item, int worker) { (*static_cast<const Work*>(w))(item, worker); },
            &work);
    }

  private:
    using Call = void (*)(const void* work, int64_t item, int worker);
    void run_erased(int64_t items, Call call, const void* work);

    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace kv8::cpu
