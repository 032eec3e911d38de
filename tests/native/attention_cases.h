// Attention cases as a caller would have them: sequences with their own K, V and q, seeded, and a paged cache into
// which any selection of their rows can be placed in any layout. Whatever no visible key occupies holds NaN (E5M2:
// infinities too), and table entries that no visible key needs hold ids that must not be followed.
#pragma once

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstring>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "test_devices.h"
#include "elements.h"
#include "exact_fp8.h"

namespace kv8_test {

using Random = std::mt19937_64;

inline int pick(Random& random, int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); }
inline bool chance(Random& random, double p) { return std::uniform_real_distribution<double>(0, 1)(random) < p; }
template <class T>
T one_of(Random& random, const std::vector<T>& values) {
    return values[pick(random, 0, int(values.size()) - 1)];
}
inline double normal(Random& random) { return std::normal_distribution<double>(0, 1)(random); }

inline exact::Number number_of(double x) {
    if (std::isnan(x)) return exact::nan();
    exact::Number n;
    n.negative = std::signbit(x);
    int exponent = 0;
    n.mantissa = uint64_t(std::ldexp(std::frexp(std::abs(x), &exponent), 53));
    n.exponent = exponent - 53;
    return n;
}

inline double double_of(const exact::Number& n) {
    if (n.kind == exact::Number::kNan) return NAN;
    const double magnitude = n.kind == exact::Number::kInfinite ? INFINITY : std::ldexp(double(n.mantissa), n.exponent);
    return n.negative ? -magnitude : magnitude;
}

// A stored element's value and the nearest element to a value, by exact arithmetic.
inline double value_of(kv8_dtype dtype, uint32_t bits) {
    return dtype == KV8_F32 ? double(float_of(bits)) : double_of(exact::decode(exact::format_of(dtype), bits));
}
inline uint32_t element_of(kv8_dtype dtype, double x) {
    return dtype == KV8_F32 ? bits_of(float(x)) : exact::encode(exact::format_of(dtype), number_of(x));
}

enum class Scales { kNone, kTensor, kHead, kChannel, kRow, kRowAndChannel };
inline const char* name_of(Scales s) {
    static const char* const names[] = {"none", "tensor", "head", "channel", "row", "row+channel"};
    return names[int(s)];
}

// K or V: what is stored and how it is scaled.
struct CaseSide {
    kv8_dtype dtype = KV8_F32;
    Scales scales = Scales::kNone;
    std::vector<float> chan;  // [kv_heads][head_size], whatever the granularity
    bool has_rows() const { return scales == Scales::kRow || scales == Scales::kRowAndChannel; }
};

struct CaseSequence {
    int queries = 0, keys = 0;
    std::vector<uint32_t> q;          // [queries][q_heads][head_size]
    std::vector<uint32_t> k, v;       // [keys][kv_heads][head_size]
    std::vector<float> k_row, v_row;  // [keys][kv_heads]
};

struct AttentionCase {
    int q_heads = 1, kv_heads = 1, head_size = 64;
    kv8_dtype q_dtype = KV8_F32, out_dtype = KV8_F32;
    CaseSide k, v;
    int window = 0;
    float softmax_scale = 1, softcap = 0;
    std::vector<float> sinks, slopes;  // [q_heads] or empty
    std::vector<CaseSequence> sequences;

    int group() const { return q_heads / kv_heads; }
    std::string describe() const {
        std::ostringstream s;
        s << "q_heads " << q_heads << ", kv_heads " << kv_heads << ", head_size " << head_size << ", q "
          << kv8_test::name_of(q_dtype) << ", out " << kv8_test::name_of(out_dtype) << ", K "
          << kv8_test::name_of(k.dtype) << " by " << name_of(k.scales) << ", V " << kv8_test::name_of(v.dtype) << " by "
          << name_of(v.scales) << ", window " << window << ", softcap " << softcap << (sinks.empty() ? "" : ", sinks")
          << (slopes.empty() ? "" : ", ALiBi") << ", queries/keys";
        for (const auto& sequence : sequences) s << ' ' << sequence.queries << '/' << sequence.keys;
        return s.str();
    }
};

// Scales and q are such that scores stay within some +-50, where float32 rounds a score by 4e-6 at most.
inline float draw_scale(Random& random) { return float(std::exp(std::clamp(0.4 * normal(random), -0.7, 0.7))); }

// Fills sequence data of the shape that queries and keys say.
inline void fill_sequence(Random& random, const AttentionCase& c, double q_size, CaseSequence& s) {
    const auto side = [&](const CaseSide& side, std::vector<uint32_t>& elements, std::vector<float>& rows) {
        std::vector<uint32_t> code_of;  // elements are drawn from 1024 normal values
        rows.assign(size_t(s.keys) * c.kv_heads, 1.0f);
        if (side.has_rows())
            for (float& row : rows) row = draw_scale(random);
        elements.resize(size_t(s.keys) * c.kv_heads * c.head_size);
        for (int i = 0; i < 1024; i++) code_of.push_back(element_of(side.dtype, normal(random)));
        if (is_fp8(side.dtype))  // some subnormal codes, and zeros of both signs where there are two
            for (int i = 0; i < 40; i++) code_of[size_t(i)] = uint32_t(i % 4) | (i % 4 != 0 && i % 2 ? 0x80u : 0u);
        uint64_t state = random();  // a generator as cheap as the copy: there are millions of elements
        for (uint32_t& e : elements) e = code_of[(state = state * 6364136223846793005u + 1442695040888963407u) >> 54];
    };
    side(c.k, s.k, s.k_row);
    side(c.v, s.v, s.v_row);
    if (c.v.has_rows() && chance(random, 0.5))  // V that grows from key to key, by 64 in all
        for (size_t i = 0; i < s.v_row.size(); i++)
            s.v_row[i] *= float(std::exp2(6 * double(i) / double(s.v_row.size()) - 3));
    s.q.resize(size_t(s.queries) * c.q_heads * c.head_size);
    for (uint32_t& e : s.q) e = element_of(c.q_dtype, q_size * normal(random));
}

inline void fill_chan(Random& random, const AttentionCase& c, CaseSide& side) {
    const bool by_head = side.scales == Scales::kHead, by_channel = side.scales >= Scales::kChannel;
    side.chan.assign(size_t(c.kv_heads) * c.head_size, 1.0f);
    if (side.scales == Scales::kNone || side.scales == Scales::kRow) return;
    float scale = 1;
    for (size_t i = 0; i < side.chan.size(); i++) {
        if (i == 0 || by_channel || (by_head && i % size_t(c.head_size) == 0)) scale = draw_scale(random);
        side.chan[i] = scale;
    }
}

// What the cases of a run dwell on.
struct CaseMix {
    bool gpu = false;  // 16-bit queries, caches that matrix units take, more groups of query heads, verification
    int64_t products = 8'000'000;  // of a query's element with a key's, over the whole batch: what time goes into
};

// Case `index` of a seeded run. What must be covered for certain cycles with the index; the rest is drawn.
inline AttentionCase make_case(uint64_t seed, int index, const CaseMix& mix = {}) {
    Random random(seed * 1000003 + uint64_t(index));
    AttentionCase c;
    static const int kHeadSizes[] = {64, 80, 96, 112, 128, 192, 256}, kGroups[] = {1, 3, 4, 7, 8, 2, 5, 40},
                     kMoreGroups[] = {1, 4, 8, 2, 3, 16, 5, 6, 7, 8, 12, 40, 4, 9, 1, 13, 16};
    c.head_size = kHeadSizes[index % 7];
    const int group = mix.gpu ? kMoreGroups[index % 17] : kGroups[index % 8];
    c.kv_heads = group > 8 ? 1 : one_of<int>(random, {1, 2, 3});
    c.q_heads = group * c.kv_heads;
    c.k.dtype = kAll[index % 6 == 5 ? pick(random, 0, 6) : pick(random, 3, 6)];
    c.v.dtype = chance(random, 0.6) ? c.k.dtype : kAll[pick(random, 0, 6)];
    if (mix.gpu && chance(random, 0.7))  // what matrix units take
        c.k.dtype = c.v.dtype =
            one_of<kv8_dtype>(random, {KV8_E4M3FN, KV8_E4M3FN, KV8_E5M2, KV8_E4M3FNUZ, KV8_E5M2FNUZ});
    if (index % 5 == 0) c.k.dtype = c.v.dtype = kPlain[index / 5 % 3];
    if (chance(random, mix.gpu ? 0.2 : 0.5))
        c.q_dtype = c.out_dtype = KV8_F32;
    else {
        c.q_dtype = kPlain[pick(random, mix.gpu ? 1 : 0, 2)];
        c.out_dtype = kPlain[pick(random, 0, 2)];
    }
    for (CaseSide* side : {&c.k, &c.v}) {
        if (is_fp8(side->dtype)) side->scales = Scales(pick(random, 0, 5));
        fill_chan(random, c, *side);
    }
    c.softmax_scale = float(1 / std::sqrt(double(c.head_size)));
    if (chance(random, 0.35)) c.window = one_of<int>(random, {1, 2, 7, 15, 16, 17, 64, 100, 511, 512, 513, 1000});
    if (chance(random, 0.25)) c.softcap = one_of<float>(random, {5.0f, 20.0f, 50.0f});
    if (chance(random, 0.3))
        for (int h = 0; h < c.q_heads; h++) c.sinks.push_back(float(3 * normal(random)));
    if (chance(random, 0.25))
        for (int h = 0; h < c.q_heads; h++) c.slopes.push_back(float(std::exp2(-8.0 * (h + 1) / c.q_heads)));

    const int64_t budget = mix.products / (int64_t(c.q_heads) * c.head_size);
    int64_t work = 0;
    const int count = pick(random, 1, 6);
    for (int i = 0; i < count; i++) {
        CaseSequence s;
        switch (pick(random, 0, 9)) {
            case 0:
                s.keys = pick(random, 0, 1);
                break;
            case 1:
                s.keys = one_of<int>(random, {15, 16, 17, 31, 32, 33, 47, 48, 49});
                break;
            case 2:
                s.keys = one_of<int>(random, {511, 512, 513, 1023, 1024, 1025, 1537});
                break;
            case 3:
                s.keys = pick(random, 1500, 5000);
                break;
            default:
                s.keys = pick(random, 1, 400);
        }
        switch (pick(random, 0, 6)) {
            case 0:
                s.queries = 0;
                break;
            case 1:
                s.queries = pick(random, 2, 8);
                break;  // verify
            case 2:
                s.queries = std::min(s.keys, 100);
                break;  // whole prompt or a chunk of it
            case 3:
                s.queries = pick(random, 9, 70);
                break;  // chunk
            default:
                s.queries = mix.gpu && chance(random, 0.3) ? pick(random, 2, 8) : 1;
        }
        // More queries than keys are legal: the first ones see nothing. Rare, but for one query of an empty sequence.
        if (s.queries > s.keys && s.keys > 0 && !chance(random, 0.05)) s.queries = s.keys;
        if (work + int64_t(s.queries) * s.keys > budget)
            s.keys = std::min(s.keys, 60), s.queries = std::min(s.queries, 5);
        work += int64_t(s.queries) * s.keys;
        c.sequences.push_back(s);
    }
    const double q_size = one_of<double>(random, {0.5, 1, 2, 3});
    for (CaseSequence& s : c.sequences) fill_sequence(random, c, q_size, s);
    return c;
}

// Query rows [first_query, first_query + queries) of a sequence, computed in one call: a chunk of its prompt.
struct Part {
    int sequence, first_query, queries;
};

inline std::vector<Part> whole_batch(const AttentionCase& c) {
    std::vector<Part> parts;
    for (int s = 0; s < int(c.sequences.size()); s++) parts.push_back({s, 0, c.sequences[size_t(s)].queries});
    return parts;
}

// How a cache lies in memory.
struct Placement {
    int block_size = 16;
    bool slot_major = false;  // [slot][head] instead of [head][slot]
    bool v_first = false;
    int gap = 0;           // bytes between rows of q and of out
    int64_t head_gap = 0;  // bytes between heads of a block; if any, the cache's memory is sparse
    uint64_t ids = 0;      // seed of the block ids' order
    int first_id = 0;      // blocks before it are no sequence's
    bool scattered = true;
};

inline Placement make_placement(Random& random) {
    Placement p;
    p.block_size = one_of<int>(random, {1, 5, 8, 16, 24, 32, 40, 56, 64, 100, 128});
    p.slot_major = chance(random, 0.5);
    p.v_first = chance(random, 0.5);
    p.gap = 64 * pick(random, 0, 1) + 16 * pick(random, 0, 2);
    p.ids = random();
    p.scattered = chance(random, 0.8);
    return p;
}

// Zero-based bytes at an address that is a multiple of 64, with nothing legal before and after.
class Bytes {
  public:
    explicit Bytes(size_t bytes, uint8_t value = 0) : bytes_(bytes) {
        if (posix_memalign(&at_, 64, bytes + (bytes == 0)) != 0) throw std::bad_alloc();
        std::memset(at_, value, bytes);
    }
    ~Bytes() { free(at_); }
    Bytes(const Bytes&) = delete;
    Bytes& operator=(const Bytes&) = delete;
    uint8_t* data() const { return static_cast<uint8_t*>(at_); }
    size_t size() const { return bytes_; }
    kv8_span span() const { return {reinterpret_cast<uint64_t>(at_), bytes_}; }

  private:
    void* at_ = nullptr;
    size_t bytes_;
};

}  // namespace kv8_test
