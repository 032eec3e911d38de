#include "gpu/host/removals.h"

#include <exception>
#include <utility>

namespace kv8::gpu {

Removals::~Removals() {
    for (const auto& remove : waiting_) quietly(remove);
}

Removals::Waiting Removals::take() {
    const std::lock_guard<std::mutex> lock(turn_);
    return std::exchange(waiting_, {});
}

void Removals::add(std::function<void()> remove) {
    {
        const std::lock_guard<std::mutex> lock(turn_);
        waiting_.push_back(std::move(remove));
    }
    try_all();
}

void Removals::try_all() {
    {
        const std::lock_guard<std::mutex> lock(turn_);
        if (waiting_.empty()) return;
    }
    captures_.unless_any([&] {
        Waiting mine = take();  // what others add from now on wants a wait of its own
        try {
            driver_.synchronize_all();
        } catch (...) {
            const std::lock_guard<std::mutex> lock(turn_);
            waiting_.insert(waiting_.end(), mine.begin(), mine.end());
            throw;
        }
        std::exception_ptr first;
        for (const auto& remove : mine) try {
                remove();
            } catch (...) {
                if (first == nullptr) first = std::current_exception();
            }
        if (first != nullptr) std::rethrow_exception(first);
    });
}

}  // namespace kv8::gpu
