// Makes a batch's schedule in host memory, in the form of gpu/attention_plan.h.
#pragma once

#include <vector>

#include "gpu/attention_plan.h"
#include "gpu/host/plan_registry.h"

namespace kv8::gpu {

// What a schedule depends on beside the batch.
struct ScheduleTarget {
    int slots[2];  // blocks per KV head that the device holds at once, for small and for large tiles
    int large_rows;
};

struct AttentionSchedule {
    std::vector<char> bytes;       // the plan; sent to the workspace
    uint64_t workspace_bytes = 0;  // with the records behind it
    KnownPlan known{};
};

// The dispatcher has checked the arguments and their arrays.
AttentionSchedule make_schedule(const kv8_attention_plan_args& args, const ScheduleTarget& target);

}  // namespace kv8::gpu
