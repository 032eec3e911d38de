// The worker threads: every item once, all done when run returns, whoever calls and however short a run is.
#include "cpu/thread_pool.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <numeric>
#include <set>
#include <thread>
#include <vector>

#include "dispatch/error.h"

namespace {

using kv8::cpu::ThreadPool;

TEST(ThreadPool, RunsEveryItemOnce) {
    for (int threads : {1, 2, 3, 8}) {
        ThreadPool pool(threads);
        EXPECT_EQ(pool.threads(), threads);
        for (int64_t items : {0, 1, 2, 7, 64, 1000}) {
            std::vector<std::atomic<int>> done(static_cast<size_t>(items));
            pool.run(items, [&](int64_t item, int worker) {
                ASSERT_GE(worker, 0);
                ASSERT_LT(worker, threads);
                done[static_cast<size_t>(item)]++;
            });
            for (size_t i = 0; i < done.size(); i++)
                ASSERT_EQ(done[i], 1) << "item " << i << " on " << threads << " threads";
        }
    }
}

TEST(ThreadPool, HasFinishedWhenRunReturns) {
    ThreadPool pool(4);
    std::vector<int64_t> plain(
        64);  // plain memory: a worker that lags behind would be seen, and by ThreadSanitizer too
    for (int round = 0; round < 20'000; round++) {
        const int64_t items = 1 + round % 64;
        pool.run(items, [&](int64_t item, int) { plain[static_cast<size_t>(item)] += item + 1; });
        for (int64_t i = 0; i < items; i++) {
            ASSERT_EQ(plain[static_cast<size_t>(i)], i + 1) << "round " << round;
            plain[static_cast<size_t>(i)] = 0;
        }
    }
}

TEST(ThreadPool, WakesParkedWorkers) {
    ThreadPool pool(3);
    for (int round = 0; round < 20; round++) {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));  // long enough for the workers to sleep
        std::atomic<int> together{0};
        // Each item waits for the others, so the run ends only if all three threads work.
        pool.run(3, [&](int64_t, int) {
            together++;
            while (together < 3) std::this_thread::yield();
        });
        EXPECT_EQ(together, 3);
    }
}

TEST(ThreadPool, GivesConcurrentCallersTurns) {
    ThreadPool pool(3);
    std::atomic<int> inside{0};
    std::vector<std::thread> callers;
    std::vector<int64_t> sums(4);
    for (size_t c = 0; c < sums.size(); c++)
        callers.emplace_back([&, c] {
            for (int round = 0; round < 500; round++) {
                std::vector<int64_t> of_worker(3 * 16);  // workers are numbered within a run, so no two share a number
                pool.run(50, [&](int64_t item, int worker) {
                    inside++;
                    of_worker[static_cast<size_t>(worker) * 16] += item;
                    inside--;
                });
                sums[c] += std::accumulate(of_worker.begin(), of_worker.end(), int64_t{0});
            }
        });
    for (std::thread& caller : callers) caller.join();
    EXPECT_EQ(inside, 0);
    for (int64_t sum : sums) EXPECT_EQ(sum, 500 * 49 * 50 / 2);
}

TEST(ThreadPool, NumbersItsThreads) {
    ThreadPool pool(4);
    std::vector<std::set<std::thread::id>> seen(4);
    for (int round = 0; round < 200; round++)
        pool.run(64,
                 [&](int64_t, int worker) { seen[static_cast<size_t>(worker)].insert(std::this_thread::get_id()); });
    EXPECT_EQ(seen[0], std::set<std::thread::id>{std::this_thread::get_id()});
    for (const auto& threads : seen) EXPECT_LE(threads.size(), 1u);
}

// Stacks that no address space holds, as long as it lives: no thread can start.
class HugeStacks {
  public:
    HugeStacks() {
        pthread_getattr_default_np(&before_);
        pthread_attr_t huge = before_;
        pthread_attr_setstacksize(&huge, size_t{1} << 50);
        pthread_setattr_default_np(&huge);
    }
    ~HugeStacks() { pthread_setattr_default_np(&before_); }

  private:
    pthread_attr_t before_;
};

TEST(ThreadPool, SaysWhatToDoWhereThreadsCannotStart) {
    const HugeStacks stacks;
    EXPECT_NO_THROW(ThreadPool(1));
    try {
        ThreadPool pool(4);
        FAIL() << "started " << pool.threads() << " threads";
    } catch (const kv8::Refusal& refusal) {
        EXPECT_EQ(refusal.status, KV8_OUT_OF_MEMORY);
        for (const char* part : {"started 1 of the 4 threads", "options.threads", "-Dkv.cpu.threads", "pids.max"})
            EXPECT_NE(std::strstr(refusal.message, part), nullptr) << refusal.message;
    }
}

TEST(ThreadPool, StartsAndStopsWithoutWork) {
    for (int round = 0; round < 200; round++) ThreadPool pool(1 + round % 5);
}

}  // namespace
