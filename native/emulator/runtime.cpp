#include "emulator/runtime.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "dispatch/error.h"
#include "emulator/shared_memory.h"

namespace kv8::emulator {

Lane* running;
Grid grid;

namespace {

constexpr int kLanes = kArch.lanes;

struct Launch {
    const Kernel* kernel = nullptr;
    const void* params = nullptr;
    Lane* first = nullptr;  // of the block, in order
    int warps = 0;
    bool failed = false;
    char message[Refusal::kMaxMessage];
};

std::mutex one_launch;  // guards all of the runtime's state
Launch current;
Lane lanes[kMostThreads];
Warp warps[kMostThreads / kArch.lanes];
Fiber caller;  // the thread that launched
const Kernel* kernels;

const char* file_name(const char* path) {
    const char* slash = std::strrchr(path, '/');
    return slash == nullptr ? path : slash + 1;
}

// Of what a lane waits at.
const char* name_of(const Lane& lane) {
    return lane.state == LaneState::kMeeting ? lane.warp->meeting->name : "sync_block";
}

void switch_to(Lane& lane) {
    Lane& from = *running;
    running = &lane;
    switch_fibers(from.fiber, lane.fiber);
}

[[noreturn]] void end_block(Lane& lane) { end_fiber(lane.fiber, caller); }

bool same_site(const Site& a, const Site& b) {
    return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

// Two lanes that must come to the same meeting, at the same line, or both to their end.
void check_together(const Lane& a, const Lane& b) {
    if (a.state == b.state && (a.state == LaneState::kDone || same_site(a.site, b.site))) return;
    const bool waits = a.state != LaneState::kDone;
    const Lane &waiting = waits ? a : b, &other = waits ? b : a;
    if (other.state == LaneState::kDone)
        fail(waiting, waiting.site, "waits at %s, but thread %d has ended", name_of(waiting), other.thread);
    fail(waiting, waiting.site, "waits at %s, but thread %d has come to %s (%s:%d)", name_of(waiting), other.thread,
         name_of(other), file_name(other.site.file), other.site.line);
}

// All lanes of all warps wait at the barrier, or all have ended: who runs next. Null: nobody.
Lane* next_round() {
    for (int t = 0; t < current.warps * kLanes; t++) check_together(*current.first, lanes[t]);
    if (current.first->state == LaneState::kDone) return nullptr;
    shared_memory.block_barrier();
    for (int w = 0; w < current.warps; w++) warps[w].ordered_until = shared_memory.ordered_until();
    return current.first;
}

// Every lane of the warp has run as far as it could: who runs next.
Lane* next_pass(Warp& warp) {
    if (warp.meeting_lanes == 0) return warp.next != nullptr ? warp.next->first : next_round();
    for (const Lane* lane = warp.first; lane != nullptr; lane = lane->next) check_together(*warp.first, *lane);
    warp.meeting_lanes = 0;
    warp.meeting->perform(warp);
    return warp.first;
}

// The running lane cannot go on: lets others run until it can.
void wait() {
    Lane& lane = *running;
    Lane* next = lane.next != nullptr ? lane.next : next_pass(*lane.warp);
    if (next != &lane) switch_to(*next);
    lane.state = LaneState::kReady;
}

void lane_entry() {
    fiber_entered();
    current.kernel->body(current.params);
    Lane& lane = *running;
    if (lane.copies.uncommitted()) fail(lane, Site{}, "ends with asynchronous copies that it never committed");
    lane.state = LaneState::kDone;
    Lane* next = lane.next != nullptr ? lane.next : next_pass(*lane.warp);
    if (next == nullptr) end_block(lane);
    running = next;
    end_fiber(lane.fiber, next->fiber);
}

// Sets the lanes and warps up in the launch's order.
void line_up(int threads, bool reversed) {
    current.warps = threads / kLanes;
    for (int w = 0; w < current.warps; w++) {
        Warp& warp = warps[w];
        warp.lanes = lanes + w * kLanes;
        warp.first = warp.lanes + (reversed ? kLanes - 1 : 0);
        const int following = reversed ? w - 1 : w + 1;
        warp.next = following >= 0 && following < current.warps ? warps + following : nullptr;
        for (int l = 0; l < kLanes; l++) {
            Lane& lane = warp.lanes[l];
            lane.thread = w * kLanes + l;
            lane.warp = &warp;
            const int neighbour = reversed ? l - 1 : l + 1;
            lane.next = neighbour >= 0 && neighbour < kLanes ? warp.lanes + neighbour : nullptr;
            make_stack(lane.fiber);
        }
    }
    current.first = warps[reversed ? current.warps - 1 : 0].first;
}

void run_block(int shared_bytes) {
    shared_memory.begin_block(shared_bytes);
    for (int w = 0; w < current.warps; w++) {
        Warp& warp = warps[w];
        warp.meeting_lanes = 0;
        warp.ordered_until = shared_memory.ordered_until();
        for (int l = 0; l < kLanes; l++) {
            Lane& lane = warp.lanes[l];
            lane.state = LaneState::kReady;
            start_fiber(lane.fiber, lane.thread, lane_entry);
        }
    }
    running = current.first;
    switch_fibers(caller, running->fiber);
    for (int t = 0; t < current.warps * kLanes; t++) shared_memory.forget_copies(lanes[t].copies);
}

bool reversed_order() {
    const char* order = std::getenv("KV8_EMULATOR_ORDER");
    if (order == nullptr || std::strcmp(order, "forward") == 0) return false;
    if (std::strcmp(order, "reversed") == 0) return true;
    refuse(KV8_INVALID_ARGUMENT, "KV8_EMULATOR_ORDER is \"%s\"; it must be forward or reversed.", order);
}

}  // namespace

void meet(const Meeting& meeting, void* operands, Site site) {
    Lane& lane = *running;
    Warp& warp = *lane.warp;
    lane.site = site;
    lane.operands = operands;
    if (warp.meeting_lanes > 0 && warp.meeting != &meeting)
        fail(lane, site, "comes to %s while others of its warp wait at %s", meeting.name, warp.meeting->name);
    lane.state = LaneState::kMeeting;
    warp.meeting = &meeting;
    warp.meeting_lanes++;
    wait();
}

void sync_warp(Site site) {
    static constexpr Meeting meeting{"sync_warp",
                                     [](Warp& warp) { warp.ordered_until = shared_memory.warp_barrier(); }};
    meet(meeting, nullptr, site);
}

namespace {

struct Shuffle {
    uint32_t given;
    int from;
    uint32_t taken;
};

void perform_shuffle(Warp& warp) {
    for (int l = 0; l < kLanes; l++) {
        Shuffle& shuffle = warp.operands<Shuffle>(l);
        if (shuffle.from < 0 || shuffle.from >= kLanes)
            fail(warp.lanes[l], warp.lanes[l].site, "shuffles from lane %d of %d", shuffle.from, kLanes);
        shuffle.taken = warp.operands<Shuffle>(shuffle.from).given;
    }
}

void perform_any(Warp& warp) {
    bool any = false;
    for (int l = 0; l < kLanes; l++) any |= warp.operands<bool>(l);
    for (int l = 0; l < kLanes; l++) warp.operands<bool>(l) = any;
}

}  // namespace

uint32_t shuffle(uint32_t x, int from, Site site) {
    static constexpr Meeting meeting{"shuffle", perform_shuffle};
    Shuffle shuffle{x, from, 0};
    meet(meeting, &shuffle, site);
    return shuffle.taken;
}

bool any_lane(bool x, Site site) {
    static constexpr Meeting meeting{"any_lane", perform_any};
    meet(meeting, &x, site);
    return x;
}

void sync_block(Site site) {
    Lane& lane = *running;
    lane.site = site;
    lane.state = LaneState::kAtBarrier;
    wait();
}

void fail(const Lane& lane, Site site, const char* format, ...) {
    char what[512];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(what, sizeof(what), format, arguments);
    va_end(arguments);
    char place[128] = "";
    if (site.file != nullptr) std::snprintf(place, sizeof(place), " (%s:%d)", file_name(site.file), site.line);
    std::snprintf(current.message, sizeof(current.message),
                  "kernel %s of %s on emulated %s, block %d, thread %d: %s%s.", current.kernel->name,
                  current.kernel->module, kArch.name, grid.block, lane.thread, what, place);
    current.failed = true;
    end_block(*running);
}

Kernel::Kernel(const char* module, const char* name, int threads, size_t params_bytes, void (*body)(const void*))
    : module(module), name(name), threads(threads), params_bytes(params_bytes), body(body), next(kernels) {
    kernels = this;
}

const Kernel* find_kernel(const char* module, const char* name) {
    const Kernel* kernel = kernels;
    while (kernel != nullptr && (std::strcmp(kernel->module, module) != 0 || std::strcmp(kernel->name, name) != 0))
        kernel = kernel->next;
    return kernel;
}

void run(const Kernel& kernel, const void* params, int blocks, int shared_bytes) {
    std::lock_guard<std::mutex> lock(one_launch);
    const bool reversed = reversed_order();
    current.kernel = &kernel;
    current.params = params;
    current.failed = false;
    line_up(kernel.threads, reversed);
    grid.blocks = blocks;
    for (int b = 0; b < blocks; b++) {
        grid.block = reversed ? blocks - 1 - b : b;
        run_block(shared_bytes);
        if (!current.failed) continue;
        for (int t = 0; t < kernel.threads; t++) forget_frames(lanes[t].fiber);
        refuse(KV8_INTERNAL_ERROR, "%s", current.message);
    }
}

}  // namespace kv8::emulator
