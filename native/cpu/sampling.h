// Draws a token from a row of logits. Candidates are ranked by logit, which is the order of exact probabilities; weights and
// their sums are float64. The ranking is a heap that gives up one candidate at a time, since a draw seldom needs many.
#pragma once

#include <algorithm>
#include <cmath>

#include "cpu/row_io.h"

namespace kv8::cpu::KV8_ISA {

struct Candidate {
    float logit;
    int32_t id;
};

// Heap order: the top ranks first, by the larger logit, then by the lower id.
struct RanksLower {
    bool operator()(const Candidate& a, const Candidate& b) const {
        return a.logit != b.logit ? a.logit < b.logit : a.id > b.id;
    }
};

class Ranking {
  public:
    Ranking(Candidate* candidates, int64_t count) : candidates_(candidates), count_(count), unranked_(count) {
        std::make_heap(candidates, candidates + count, RanksLower{});
    }

    const Candidate& at(int64_t rank) {
        // A popped candidate stays behind the heap's end, so the array fills from its end in rank order.
        for (; count_ - unranked_ <= rank; unranked_--)
            std::pop_heap(candidates_, candidates_ + unranked_, RanksLower{});
        return candidates_[count_ - 1 - rank];
    }

  private:
    Candidate* candidates_;
    int64_t count_;
    int64_t unranked_;
};

// Calls visit(id, logit) in ascending order of ids.
template <class Element, class Visit>
KV8_INLINE void for_logits(const uint8_t* row, int32_t vocabulary, const Visit& visit) {
    for (int64_t first = 0; first < vocabulary; first += kLanes) {
        const int64_t count = vocabulary - first < kLanes ? vocabulary - first : kLanes;
        const uint8_t* from = row + first * Element::bytes;
        const f32 lanes = count == kLanes ? Element::load(from) : load_part<Element>(from, count);
        for (int i = 0; i < count; i++) visit(int32_t(first + i), lanes[i]);
    }
}

// No NaN, no +infinity, at least one finite logit.
template <class Element>
bool is_legal_row(const uint8_t* row, int32_t vocabulary) {
    constexpr uint32_t kInfinity = 0x7f800000u;
    bool finite = false, illegal = false;
    for_logits<Element>(row, vocabulary, [&](int32_t, float logit) {
        const uint32_t word = bits<uint32_t>(logit);
        const uint32_t magnitude = word & 0x7fffffffu;
        finite |= magnitude < kInfinity;
        illegal |= (magnitude > kInfinity) | (word == kInfinity);
    });
    return finite && !illegal;
}

template <class Element>
int32_t largest(const uint8_t* row, int32_t vocabulary) {
    Candidate best{-INFINITY, 0};
    for_logits<Element>(row, vocabulary, [&](int32_t id, float logit) {
        if (logit > best.logit) best = {logit, id};
    });
    return best.id;
}

// candidates: room for the vocabulary.
template <class Element>
int32_t draw(const uint8_t* row, int32_t vocabulary, const kv8_sampling& sampling, Candidate* candidates) {
    if (sampling.temperature == 0) return largest<Element>(row, vocabulary);

    int64_t count = 0;
    float top = -INFINITY;
    for_logits<Element>(row, vocabulary, [&](int32_t id, float logit) {
        if (logit == -INFINITY) return;
        candidates[count++] = {logit, id};
        top = logit > top ? logit : top;
    });
    const auto weight = [&](const Candidate& candidate) {
        return std::exp((double(candidate.logit) - double(top)) / double(sampling.temperature));
    };

    const bool all = sampling.top_k == 0 || sampling.top_k >= count;
    int64_t kept = all ? count : sampling.top_k;
    double mass = 0;
    if (all)
        for (int64_t i = 0; i < count; i++) mass += weight(candidates[i]);
    Ranking ranking(candidates, count);
    if (!all)
        for (int64_t rank = 0; rank < kept; rank++) mass += weight(ranking.at(rank));

    if (sampling.top_p < 1) {
        const double enough = double(sampling.top_p) * mass;
        double reached = 0;
        for (int64_t rank = 0; rank < kept; rank++) {
            reached += weight(ranking.at(rank));
            if (reached >= enough) kept = rank + 1;
        }
        mass = reached;
    }

    const double target = double(sampling.uniform) * mass;
    double cumulative = 0;
    int32_t drawn = ranking.at(0).id;
    for (int64_t rank = 0; rank < kept; rank++) {
        const Candidate& candidate = ranking.at(rank);
        const double own = weight(candidate);
        if (own == 0) break;  // sums in another order may end an ulp apart; what has no probability is never drawn
        drawn = candidate.id;
        cumulative += own;
        if (cumulative > target) break;
    }
    return drawn;
}

}  // namespace kv8::cpu::KV8_ISA
