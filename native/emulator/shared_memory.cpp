#include "emulator/shared_memory.h"

namespace kv8::emulator {

SharedMemory shared_memory;

namespace {

// A stamp: the thread's number, two flags, the time.
constexpr int32_t kManyLanes = 1 << 10;                // readers: several lanes of the thread's warp
constexpr int32_t kManyWarps = 1 << 11;                // readers: lanes of several warps
constexpr int32_t kUnderWay = kManyWarps;              // writer: an asynchronous copy of the thread, not waited for
constexpr int32_t kTick = 1 << 12;                     // of time
constexpr int32_t kNever = INT32_MAX / kTick * kTick;  // later than every barrier
constexpr int32_t kRewindAt = kNever / 2;
constexpr int32_t kThread = kMostThreads - 1, kWho = kTick - 1;
constexpr int32_t kWarp = kWho & ~kManyLanes & ~(kArch.lanes - 1);
static_assert(kMostThreads == kManyLanes && kArch.lanes <= kMostThreads);

constexpr int kPoison = 0xFF;  // a NaN in every format but AMD's FP8

// The accesses that are before one of the running lane.
struct Order {
    int32_t thread = running->thread;
    int32_t warp = running->thread & kWarp;
    int32_t block_until = shared_memory.ordered_until();
    int32_t warp_until = running->warp->ordered_until;

    // Whether an access is, or is the lane's own. Without branches: the compiler checks several bytes at once.
    int32_t contains(int32_t stamp) const {
        return -(stamp < block_until) | -((stamp & kWho) == thread) |
               (-((stamp & kWarp) == warp) & -(stamp < warp_until));
    }
};

}  // namespace

void SharedMemory::check_place(uint32_t at, uint32_t bytes, const char* verb, Site site) {
    if (at > bytes_ || bytes > bytes_ - at)
        fail(*running, site, "%s %u bytes at %u of shared memory; the block has %u", verb, bytes, at, bytes_);
    if (at % bytes != 0)
        fail(*running, site, "%s %u bytes at %u of shared memory, which is not a multiple of %u", verb, bytes, at,
             bytes);
}

template <int kBytes>
void SharedMemory::check_load(uint32_t at, Site site) {
    check_place(at, kBytes, "reads", site);
    const Order before;
    const int32_t mine = now_ | before.thread;
    const int32_t* writers = writers_ + at;
    int32_t* readers = readers_ + at;
    int32_t legal = -1;
    for (int i = 0; i < kBytes; i++) legal &= before.contains(writers[i]) & -(writers[i] >= born_);
    if (legal == 0) explain(at, kBytes, false, site);
    for (int i = 0; i < kBytes; i++) {
        const int32_t others = (readers[i] & kWarp) == before.warp ? kManyLanes : kManyWarps;
        readers[i] = mine | (others & ~before.contains(readers[i]));
    }
}

template <int kBytes>
void SharedMemory::check_store(uint32_t at, Site site) {
    check_place(at, kBytes, "writes", site);
    const Order before;
    const int32_t mine = now_ | before.thread;
    int32_t* writers = writers_ + at;
    int32_t* readers = readers_ + at;
    int32_t legal = -1;
    for (int i = 0; i < kBytes; i++) legal &= before.contains(writers[i]) & before.contains(readers[i]);
    if (legal == 0) explain(at, kBytes, true, site);
    for (int i = 0; i < kBytes; i++) {
        writers[i] = mine;
        readers[i] = 0;
    }
}

template void SharedMemory::check_load<1>(uint32_t, Site);
template void SharedMemory::check_load<2>(uint32_t, Site);
template void SharedMemory::check_load<4>(uint32_t, Site);
template void SharedMemory::check_load<8>(uint32_t, Site);
template void SharedMemory::check_load<16>(uint32_t, Site);
template void SharedMemory::check_store<1>(uint32_t, Site);
template void SharedMemory::check_store<2>(uint32_t, Site);
template void SharedMemory::check_store<4>(uint32_t, Site);
template void SharedMemory::check_store<8>(uint32_t, Site);
template void SharedMemory::check_store<16>(uint32_t, Site);

// Which byte of an illegal access is to blame, and why.
void SharedMemory::explain(uint32_t at, uint32_t bytes, bool writes, Site site) {
    const Order before;
    const char* verb = writes ? "writes" : "reads";
    for (uint32_t byte = at; byte < at + bytes; byte++) {
        const int32_t writer = writers_[byte], reader = readers_[byte];
        if (writer >= kNever)
            fail(*running, site,
                 "%s byte %u of shared memory, the target of an asynchronous copy of thread %d under way", verb, byte,
                 writer & kThread);
        if (!writes && writer < born_)
            fail(*running, site, "reads byte %u of shared memory, which nothing wrote", byte);
        if (!before.contains(writer))
            fail(*running, site, "%s byte %u of shared memory, written by thread %d with no barrier between the two",
                 verb, byte, writer & kThread);
        if (writes && !before.contains(reader))
            fail(*running, site, "writes byte %u of shared memory, read by thread %d%s with no barrier between the two",
                 byte, reader & kThread, reader & (kManyLanes | kManyWarps) ? " and others" : "");
    }
    __builtin_unreachable();
}

// The target counts as written from now on, by a thread that nothing orders before anybody.
void SharedMemory::copy_async(uint32_t to, const void* from, Site site) {
    check_store<16>(to, site);
    for (int i = 0; i < 16; i++) writers_[to + i] = kNever | kUnderWay | running->thread;
    std::memset(data_ + to, kPoison, 16);
    AsyncCopies& copies = running->copies;
    copies.pending.push_back({to, from, copies.open_group});
}

void SharedMemory::commit_copies() { running->copies.open_group++; }

void SharedMemory::wait_copies(int groups) {
    AsyncCopies& copies = running->copies;
    while (copies.first < copies.pending.size() && copies.pending[copies.first].group < copies.open_group - groups) {
        const AsyncCopy& copy = copies.pending[copies.first++];
        if (copy.from != nullptr)
            std::memcpy(data_ + copy.to, copy.from, 16);
        else
            std::memset(data_ + copy.to, 0, 16);
        for (int i = 0; i < 16; i++) writers_[copy.to + i] = now_ | running->thread;
    }
    if (copies.first == copies.pending.size()) copies.pending.clear(), copies.first = 0;
}

void SharedMemory::forget_copies(AsyncCopies& copies) {
    for (size_t i = copies.first; i < copies.pending.size(); i++)
        std::memset(writers_ + copies.pending[i].to, 0, 16 * sizeof(writers_[0]));
    copies.clear();
}

int32_t SharedMemory::move_time_on() {
    now_ += kTick;
    if (now_ >= kNever)
        fail(*running, Site{}, "has passed more warp barriers between two of the block than are counted");
    return now_;
}

void SharedMemory::begin_block(int bytes) {
    bytes_ = static_cast<uint32_t>(bytes);
    if (now_ > kRewindAt) {
        std::memset(writers_, 0, sizeof(writers_));
        std::memset(readers_, 0, sizeof(readers_));
        now_ = 0;
    }
    born_ = ordered_until_ = move_time_on();
    std::memset(data_, kPoison, bytes_);
}

// Early enough for the time never to run out in a long block: what was written keeps that, and is ordered before all to come.
void SharedMemory::rewind_time() {
    for (uint32_t byte = 0; byte < bytes_; byte++) {
        if (writers_[byte] < kNever) writers_[byte] = writers_[byte] < born_ ? 0 : kTick;
        readers_[byte] = 0;
    }
    std::memset(writers_ + bytes_, 0, (kMostBytes - bytes_) * sizeof(writers_[0]));
    std::memset(readers_ + bytes_, 0, (kMostBytes - bytes_) * sizeof(readers_[0]));
    born_ = now_ = kTick;
}

void SharedMemory::block_barrier() {
    if (now_ > kRewindAt) rewind_time();
    ordered_until_ = move_time_on();
}

int32_t SharedMemory::warp_barrier() { return move_time_on(); }

}  // namespace kv8::emulator
