#include "gpu/host/plan_registry.h"

#include <iterator>

#include "dispatch/error.h"

namespace kv8::gpu {

void PlanRegistry::remember(uint64_t workspace, const KnownPlan& plan) {
    std::lock_guard<std::mutex> lock(turn_);
    // What it is written over is none any more: its header may still be there, and what follows that not.
    auto first = plans_.lower_bound(workspace);
    if (first != plans_.begin() && std::prev(first)->first + std::prev(first)->second.shape.bytes > workspace) --first;
    plans_.erase(first, plans_.lower_bound(workspace + plan.shape.bytes));
    plans_[workspace] = plan;
}

KnownPlan PlanRegistry::find(uint64_t workspace, uint64_t bytes) const {
    std::lock_guard<std::mutex> lock(turn_);
    const auto known = plans_.find(workspace);
    if (known == plans_.end() || bytes < known->second.shape.bytes)
        refuse(KV8_INVALID_ARGUMENT,
               "plan is not a workspace that kv8_attention_plan filled on this device, or not the whole of it; it has "
               "%llu bytes.",
               static_cast<unsigned long long>(bytes));
    return known->second;
}

void PlanRegistry::forget(uint64_t memory, uint64_t bytes) {
    std::lock_guard<std::mutex> lock(turn_);
    plans_.erase(plans_.lower_bound(memory), plans_.lower_bound(memory + bytes));
}

}  // namespace kv8::gpu
