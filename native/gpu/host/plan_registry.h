// What the host needs to know of the plans in device memory, which it cannot read: the last plan made in each workspace.
#pragma once

#include <map>
#include <mutex>

#include "dispatch/checks.h"

namespace kv8::gpu {

struct KnownPlan {
    AttentionShape shape;
    int slots[2];       // of each list of tiles, in the plan
    int used_slots[2];  // of these, the first ones with work
};

class PlanRegistry {
  public:
    void remember(uint64_t workspace, const KnownPlan& plan);
    KnownPlan find(uint64_t workspace, uint64_t bytes) const;  // throws Refusal where there is none
    void forget(uint64_t memory, uint64_t bytes);              // which are freed, with the plans in them

  private:
    mutable std::mutex turn_;
    std::map<uint64_t, KnownPlan> plans_;
};

}  // namespace kv8::gpu
