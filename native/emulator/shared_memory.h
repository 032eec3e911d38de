// The block's shared memory, and for each of its bytes who wrote it last and who has read it since. An access is an error when
// another thread's access to the same byte, one of the two a write, is not ordered before it by a barrier; when it reads what
// nothing wrote; when it touches the target of an asynchronous copy under way; when it is misaligned or outside.
//
// Accesses are stamped: the time (which every barrier moves on) above the thread's number. What happened before a barrier
// bears an earlier time than its end, so one comparison of a stamp with the time of the last barrier tells whether the access
// was before it. Of several readers it is enough to remember the latest, and whether they were of one warp or of several.
#pragma once

#include <cstdint>
#include <cstring>

#include "emulator/arch.h"
#include "emulator/runtime.h"

namespace kv8::emulator {

class SharedMemory {
  public:
    template <class T>
    T load(uint32_t at, Site site) {
        check_load<sizeof(T)>(at, site);
        T value;
        std::memcpy(&value, data_ + at, sizeof(T));
        return value;
    }

    template <class T>
    void store(uint32_t at, const T& value, Site site) {
        check_store<sizeof(T)>(at, site);
        std::memcpy(data_ + at, &value, sizeof(T));
    }

    // The running lane's asynchronous copies.
    void copy_async(uint32_t to, const void* from, Site site);  // from null: zeros
    void commit_copies();
    void wait_copies(int groups);
    // Those that a lane has not waited for when its block ends.
    void forget_copies(AsyncCopies& copies);

    void begin_block(int bytes);
    // Everything before is seen by all threads of the block.
    void block_barrier();
    // Moves the time on; the stamp that it returns is later than all before.
    int32_t warp_barrier();
    // What bears an earlier stamp was before the last block barrier.
    int32_t ordered_until() const { return ordered_until_; }

  private:
    template <int kBytes>
    void check_load(uint32_t at, Site site);
    template <int kBytes>
    void check_store(uint32_t at, Site site);
    void check_place(uint32_t at, uint32_t bytes, const char* verb, Site site);
    [[noreturn]] void explain(uint32_t at, uint32_t bytes, bool writes, Site site);
    int32_t move_time_on();
    void rewind_time();

    static constexpr int kMostBytes = kArch.block_shared_kib * 1024;

    alignas(128) uint8_t data_[kMostBytes];
    alignas(128) int32_t writers_[kMostBytes] = {};
    alignas(128) int32_t readers_[kMostBytes] = {};
    uint32_t bytes_ = 0;
    int32_t now_ = 0;            // the time, as the stamp of thread 0
    int32_t born_ = 0;           // a writer's stamp before it is of an earlier block
    int32_t ordered_until_ = 0;  // the time of the last block barrier
};

extern SharedMemory shared_memory;

}  // namespace kv8::emulator
