// How an attention kernel is cut for a device: constants that the kernel is compiled with and the host launches with.
#pragma once

#include "fp8/fp8.h"

namespace kv8::gpu {

constexpr int kAttentionWarps = 4;

// Rows of K and V in shared memory: an odd number of 16-byte units apart, so that the eight rows which a matrix load reads
// lie in different banks.
KV8_HOST_DEVICE constexpr int odd_pitch(int row_bytes) { return (row_bytes / 16 | 1) * 16; }

// Rows of weights: AMD reads and writes them by 8 bytes of sixteen rows at once, NVIDIA by 16 bytes of eight.
KV8_HOST_DEVICE constexpr int odd_weight_pitch(bool by_8_bytes, int row_bytes) {
    return by_8_bytes ? (row_bytes / 8 | 1) * 8 : odd_pitch(row_bytes);
}

// What matters of a device here; the same for a kernel (kAttentionDevice) and for the host that launches it.
struct AttentionDevice {
    int shared_kib;            // shared memory of a multiprocessor
    int lanes;                 // of a warp
    bool copies_in_registers;  // AMD: the next tile waits there, and not in stages of shared memory

    // Half the lanes hold a matrix and the next tile, in as many registers each: RDNA.
    KV8_HOST_DEVICE constexpr bool has_few_registers() const { return copies_in_registers && lanes == 32; }
};

// Rows of a large tile: four warps of sixteen, or two where a row's output is too long for one warp's registers or shared
// memory is short; one where both are.
KV8_HOST_DEVICE constexpr int large_rows(AttentionDevice device, int head_size) {
    if (head_size > 192 && device.has_few_registers()) return 16;
    return head_size <= 128 && device.shared_kib > 64 ? 64 : 32;
}

// A bfloat16 holds a weight to 2^-8 of it, which is too little: it takes two, and as many products with V.
KV8_HOST_DEVICE constexpr int attention_weight_parts(bool bf16) { return bf16 ? 2 : 1; }

struct AttentionConfig {
    int row_warps;    // each has 16 rows
    int token_warps;  // share the tile's tokens for the scores, and the head's dims for the output
    int tile_keys;
    int stages;  // tiles of K and V in shared memory, all but one of them under way
    int resident;
    int threads;
    int weight_parts;
    int row_units;                                    // of 16 bytes, in a row of K or V
    int head_size, pitch, query_pitch, weight_pitch;  // pitches in bytes

    // What rounding to a half float takes from q; only FP8 caches have the scales that make it matter.
    KV8_HOST_DEVICE constexpr int query_remainder_pitch() const { return pitch < 2 * head_size ? query_pitch : 0; }
    KV8_HOST_DEVICE constexpr int rows() const { return 16 * row_warps; }
    KV8_HOST_DEVICE constexpr int groups() const { return tile_keys / 16; }
    KV8_HOST_DEVICE constexpr int tile_bytes() const { return tile_keys * pitch; }

    // A tile's rows, those of K, then of V, are copied by 16 bytes. Where it can be, a thread's copies are of one unit of
    // every so many rows (rows_at_once); a thread then finds the addresses of its rows side by side, and its neighbours
    // theirs in other banks.
    KV8_HOST_DEVICE constexpr int tile_copies() const { return 2 * tile_keys * row_units; }
    KV8_HOST_DEVICE constexpr int copy_threads() const {
        return tile_copies() % threads == 0 ? threads : tile_copies() % 128 == 0 ? 128 : 64;
    }
    KV8_HOST_DEVICE constexpr int copies() const { return tile_copies() / copy_threads(); }
    KV8_HOST_DEVICE constexpr bool copies_one_unit() const { return copy_threads() % row_units == 0; }
    KV8_HOST_DEVICE constexpr int rows_at_once() const { return copies_one_unit() ? copy_threads() / row_units : 1; }
    KV8_HOST_DEVICE constexpr int address_pitch() const { return 8 * (2 * tile_keys / rows_at_once()) + 16; }
    KV8_HOST_DEVICE constexpr int address_bytes() const { return rows_at_once() * address_pitch(); }

    // The arena's parts, in this order.
    KV8_HOST_DEVICE constexpr int stage_bytes() const { return 2 * tile_bytes(); }
    KV8_HOST_DEVICE constexpr int query_at() const { return stages * stage_bytes(); }
    KV8_HOST_DEVICE constexpr int query_remainder_at() const { return query_at() + rows() * query_pitch; }
    KV8_HOST_DEVICE constexpr int weight_at() const { return query_remainder_at() + rows() * query_remainder_pitch(); }
    KV8_HOST_DEVICE constexpr int maximum_at() const {
        return (weight_at() + (token_warps > 1 ? weight_parts * rows() * weight_pitch : 0) + 15) / 16 * 16;
    }
    KV8_HOST_DEVICE constexpr int factor_at() const { return maximum_at() + 4 * rows() * groups(); }
    KV8_HOST_DEVICE constexpr int slope_at() const { return factor_at() + 4 * rows(); }
    KV8_HOST_DEVICE constexpr int told_at() const { return slope_at() + 4 * rows(); }
    KV8_HOST_DEVICE constexpr int address_at() const { return (told_at() + 4 + 15) / 16 * 16; }
    KV8_HOST_DEVICE constexpr int scale_at() const { return address_at() + 2 * address_bytes(); }
    KV8_HOST_DEVICE constexpr int shared_bytes() const { return scale_at() + stages * 2 * 4 * tile_keys; }
};

// Blocks that a multiprocessor should hold, by what its registers allow (four leave 128 to a thread of NVIDIA's, three 168,
// two 255), where shared memory allows it. A schedule for FP8's number suits the other formats, of which half are resident.
KV8_HOST_DEVICE constexpr int wanted_residents(AttentionDevice device, int head_size, int element_bytes, bool large) {
    if (large) return device.shared_kib >= 200 ? 2 : 1;
    if (device.shared_kib >= 200) return head_size > 128 || element_bytes > 1 ? 2 : head_size % 64 == 0 ? 4 : 3;
    return device.shared_kib >= 160 ? 2 : 1;
}

KV8_HOST_DEVICE constexpr AttentionConfig attention_config_of(AttentionDevice device, int head_size, int element_bytes,
                                                              bool large, int tile_keys, int stages, int resident) {
    AttentionConfig c{};
    c.row_warps = large ? large_rows(device, head_size) / 16 : 1;
    c.token_warps = kAttentionWarps / c.row_warps;
    c.tile_keys = tile_keys;
    c.stages = stages;
    c.resident = resident;
    c.threads = kAttentionWarps * device.lanes;
    c.weight_parts = attention_weight_parts(element_bytes == 2);
    c.row_units = head_size * element_bytes / 16;
    c.head_size = head_size;
    c.pitch = odd_pitch(head_size * element_bytes);
    c.query_pitch = odd_pitch(head_size * 2);
    c.weight_pitch = odd_weight_pitch(device.copies_in_registers, tile_keys * 2);
    return c;
}

// Whether `resident` blocks have their shared memory; a kibibyte of each is NVIDIA's.
KV8_HOST_DEVICE constexpr bool fits(AttentionDevice device, const AttentionConfig& c) {
    return c.shared_bytes() + (device.copies_in_registers ? 0 : 1024) <= device.shared_kib * 1024 / c.resident;
}

// Both shapes of tile walk keys in the same steps: a row's result is the same in either.
KV8_HOST_DEVICE constexpr int attention_tile_keys(AttentionDevice device, int head_size, int element_bytes) {
    int keys = (head_size <= 128 ? 64 : 32) / (device.has_few_registers() ? 2 : 1);
    while (keys > 16 && !(fits(device, attention_config_of(device, head_size, element_bytes, false, keys, 2, 1)) &&
                          fits(device, attention_config_of(device, head_size, element_bytes, true, keys, 2, 1))))
        keys /= 2;
    return keys;
}

// As many residents as wanted come before a deeper pipeline.
KV8_HOST_DEVICE constexpr AttentionConfig attention_config(AttentionDevice device, int head_size, int element_bytes,
                                                           bool large) {
    const int keys = attention_tile_keys(device, head_size, element_bytes);
    const int most_stages = device.copies_in_registers ? 2 : 4;
    for (int resident = wanted_residents(device, head_size, element_bytes, large); resident > 0; resident--)
        for (int stages = most_stages; stages >= 2; stages--) {
            const AttentionConfig c =
                attention_config_of(device, head_size, element_bytes, large, keys, stages, resident);
            if (fits(device, c)) return c;
        }
    return {};
}

}  // namespace kv8::gpu
