// A row of logits in the order of sampling: by the larger logit, then by the lower id. Nothing is sorted: a place in
// that order, given by what lies before it, is found by narrowing the range of logits around it sixteenfold in each
// pass over the row.
#pragma once

#include "gpu/elements.h"

namespace kv8::gpu {

// Logits as integers of the same order, for which -0 equals 0.
KV8_DEVICE uint32_t key_of(float logit) {
    const uint32_t word = bits_of(logit + 0.0f);
    return word >> 31 != 0 ? ~word : word | 0x80000000u;
}
KV8_DEVICE float logit_of(uint32_t key) { return float_of(key >> 31 != 0 ? key & 0x7FFFFFFFu : ~key); }

constexpr uint32_t kBarredKey = 0x007FFFFFu;  // of -infinity

// The i-th element, by selection: registers have no addresses.
KV8_DEVICE float either(bool second, float a, float b) { return second ? b : a; }
KV8_DEVICE float element_of(const Chunk& c, int i) {
    const bool odd = (i & 1) != 0, upper = (i & 2) != 0;
    const float low = either(upper, either(odd, c.x[0], c.x[1]), either(odd, c.x[2], c.x[3]));
    const float high = either(upper, either(odd, c.x[4], c.x[5]), either(odd, c.x[6], c.x[7]));
    return either((i & 4) != 0, low, high);
}

struct LogitRow {
    const uint8_t* logits;
    kv8_dtype dtype;
    int32_t vocabulary;

    KV8_DEVICE Chunk chunk(int64_t first) const {
        return load_plain(dtype, logits + first * element_bytes(dtype), vocabulary - first);
    }

    // visit(first id, chunk, count) for this thread's share of the row, in ascending order of ids. Two chunks are on
    // their way at a time.
    template <class Visit>
    KV8_DEVICE void for_each_chunk(const Visit& visit) const {
        constexpr int64_t kStep = int64_t(SampleParams::kThreads) * kChunk;
        for (int64_t first = int64_t(thread()) * kChunk; first < vocabulary; first += 2 * kStep) {
            const int64_t second = first + kStep;
            const Chunk a = chunk(first), b = chunk(second);
            visit(first, a, vocabulary - first);
            visit(second, b, vocabulary - second);
        }
    }
};

// How much an id of a key counts: one, or e^((logit - the largest) / temperature). A weight below e^-64 cannot be drawn
// and, summed over any vocabulary, is less than a sum of at least 1 resolves in float64: it counts as 0.
struct Measure {
    bool ones;
    double largest, inverse_temperature;

    KV8_DEVICE double operator()(uint32_t key) const {
        const double x = (double(logit_of(key)) - largest) * inverse_temperature;
        return ones ? 1.0 : x < -64.0 ? 0.0 : exp_of_negative(x);
    }
};

// ---- sums by bin

constexpr int kBins = SampleParams::kBins, kBinBits = 4;
static_assert(kBins == 1 << kBinBits && SampleParams::kThreads == kBins * kBins);
static_assert(kBins <= 32, "each bin's sum is made by a thread of warp 0");

// Thread 0's two words, for all threads.
KV8_DEVICE Words2 told_by_first(Words2 words) {
    constexpr Shared kTold{8 * kBins * (SampleParams::kThreads + kBins + 1)};
    if (thread() == 0) store(kTold, words);
    sync_block();
    return load<Words2>(kTold);
}

// Sixteen sums over the ids of the block's threads. In shared memory a thread has a column of its own, then adds a part
// of one bin's columns; no atomic operation is needed, and the sums do not depend on timing. Threads without ids have
// no column.
class BinSums {
  public:
    KV8_DEVICE explicit BinSums(const LogitRow& row)
        : columns_(row.vocabulary < SampleParams::kThreads * kChunk ? int(chunks_of(row.vocabulary))
                                                                    : SampleParams::kThreads) {
        if (thread() >= columns_) return;
#pragma unroll
        for (int bin = 0; bin < kBins; bin++) store(column(bin, thread()), 0.0);
    }
    KV8_DEVICE void add(uint32_t bin, double x) const {
        const Shared at = column(int(bin), thread());
        store(at, load<double>(at) + x);
    }
    // Then warp 0 can read the sums, each multiplied by factor(bin).
    template <class Factor>
    KV8_DEVICE void close(const Factor& factor) const {
        sync_block();
        const int bin = thread() / kBins, part = thread() % kBins;
        double sum = 0.0;
        for (int i = part; i < columns_; i += kBins) sum += load<double>(column(bin, i));
        store(partial(bin, part), sum);
        sync_block();
        if (thread() < kBins) {
            double total = 0.0;
            for (int i = 0; i < kBins; i++) total += load<double>(partial(thread(), i));
            store(of(thread()), total > 0.0 ? total * factor(thread()) : 0.0);
        }
        sync_warp();
    }
    KV8_DEVICE double operator[](int bin) const { return load<double>(of(bin)); }

  private:
    KV8_DEVICE static Shared column(int bin, int of_thread) {
        return {uint32_t(8 * (bin * SampleParams::kThreads + of_thread))};
    }
    // Parts of a bin lie in a row one longer than there are, so that sixteen threads reading theirs meet no bank twice.
    KV8_DEVICE static Shared partial(int bin, int part) {
        return {uint32_t(8 * (kBins * SampleParams::kThreads + bin * (kBins + 1) + part))};
    }
    KV8_DEVICE static Shared of(int bin) { return partial(bin, kBins); }

    int columns_;
};

// ---- places

// The candidates: ids whose key is above the floor's, and the `ties` lowest ids of those that equal it.
struct Candidates {
    uint32_t floor;
    int32_t ties;
};

struct RankedPlace {
    uint32_t key;
    int32_t rank;  // among the ids of this key
};

// What a place is known by: the first in the order of candidates where the sum of measures through it exceeds, or
// reaches, the limit. Where rounding leaves none, the last one that counts.
struct Target {
    Measure measure;
    bool reach;     // or exceed
    bool relative;  // the limit is `limit` times the sum over all candidates
    double limit;
};

// `largest` is the row's largest key; a candidate's distance is how far its key is below that. Every thread of the
// block takes part and gets the same answer.
KV8_DEVICE RankedPlace find_place(const LogitRow& row, uint32_t largest, Candidates candidates, const Target& target) {
    const Measure& measure = target.measure;
    const uint32_t keys = largest - candidates.floor;  // candidates are at a distance below this from the largest key
    const int bits = keys <= 1 ? 0 : 32 - __builtin_clz(keys - 1);
    int shift = bits > kBinBits ? bits - kBinBits : 0;
    uint32_t begin = 0;  // the range's first distance
    // Thread 0 alone adds sums up: float64 is slow on most devices.
    double floor_sum = 0.0, before = 0.0, own = 0.0, limit = target.limit;
    if (thread() == 0) {
        floor_sum = own = candidates.ties > 0 ? candidates.ties * measure(candidates.floor) : 0.0;
        if (target.relative) limit = target.limit * floor_sum;
    }
    bool in_floor = keys == 0;
    for (bool first_pass = true, last_pass = false; !last_pass && !in_floor; first_pass = false) {
        last_pass = shift == 0;  // a bin is one key, whose ids count alike
        const BinSums bins(row);
        row.for_each_chunk([&](int64_t, const Chunk& c, int64_t count) {
            uint32_t in_range = 0;
#pragma unroll
            for (int i = 0; i < kChunk; i++) {
                const uint32_t distance = largest - key_of(c.x[i]);
                if (i < count && distance >= begin && distance < keys && (distance - begin) >> shift < uint32_t(kBins))
                    in_range |= 1u << i;
            }
            for (; in_range != 0; in_range &= in_range - 1) {
                const uint32_t key = key_of(element_of(c, 31 - __builtin_clz(in_range & -in_range)));
                bins.add((largest - key - begin) >> shift, last_pass ? 1.0 : measure(key));
            }
        });
        bins.close([&](int bin) { return last_pass ? measure(largest - (begin + uint32_t(bin))) : 1.0; });
        if (thread() == 0) {
            if (first_pass && target.relative) {
                double all = floor_sum;
                for (int bin = 0; bin < kBins; bin++) all += bins[bin];
                limit = target.limit * all;
            }
            bool reached = false;
            double sum = before;
            uint32_t chosen = 0;
            for (int bin = 0; bin < kBins && !reached; bin++) {
                const double of_bin = bins[bin];
                if (!(of_bin > 0.0)) continue;
                chosen = uint32_t(bin);
                before = sum;
                own = of_bin;
                sum += of_bin;
                reached = target.reach ? sum >= limit : sum > limit;
            }
            if (first_pass && !reached && floor_sum > 0.0) {
                in_floor = true;
                before = sum;
                own = floor_sum;
            }
            begin += chosen << shift;
        }
        const Words2 told = told_by_first({begin, in_floor ? 1u : 0u});
        begin = told.x;
        in_floor = told.y != 0;
        shift = shift > kBinBits ? shift - kBinBits : 0;
    }

    RankedPlace place = {in_floor ? candidates.floor : largest - begin, 0};
    if (thread() == 0) {
        const double one = measure(place.key), needed = (limit - before) / one;
        const int32_t last = int32_t(own / one + 0.5) - 1;
        place.rank = needed <= 0.0 ? 0 : needed >= double(last) + 1.0 ? last : int32_t(needed);
        if (target.reach && place.rank > 0 && double(place.rank) == needed) place.rank--;
    }
    sync_block();  // all have read what they were told before
    place.rank = int32_t(told_by_first({uint32_t(place.rank), 0}).x);
    return place;
}

// The id at a place. Threads look at spans of ids one after the other.
KV8_DEVICE int32_t id_at(const LogitRow& row, RankedPlace place) {
    constexpr int kThreads = SampleParams::kThreads;
    const int64_t span = chunks_of((int64_t(row.vocabulary) + kThreads - 1) / kThreads) * kChunk;
    const int64_t begin = thread() * span, wanted_end = begin + span,
                  end = wanted_end < row.vocabulary ? wanted_end : row.vocabulary;
    int32_t own = 0;
    for (int64_t first = begin; first < end; first += kChunk) {
        const Chunk c = row.chunk(first);
#pragma unroll
        for (int i = 0; i < kChunk; i++) own += first + i < end && key_of(c.x[i]) == place.key ? 1 : 0;
    }
    store(Shared{uint32_t(4 * thread())}, own);
    sync_block();
    constexpr Shared kAnswer{4 * kThreads};
    int32_t before = 0;
    for (int i = 0; own > 0 && i < thread(); i++) before += load<int32_t>(Shared{uint32_t(4 * i)});
    if (place.rank >= before && place.rank < before + own) {
        int32_t rank = before;
        for (int64_t first = begin; first < end; first += kChunk) {
            const Chunk c = row.chunk(first);
#pragma unroll
            for (int i = 0; i < kChunk; i++) {
                if (first + i >= end || key_of(c.x[i]) != place.key) continue;
                if (rank++ == place.rank) store(kAnswer, int32_t(first) + i);
            }
        }
    }
    sync_block();
    return load<int32_t>(kAnswer);
}

}  // namespace kv8::gpu
