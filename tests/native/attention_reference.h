// Attention in float64, straight from the definition in kv8.h, over the exact values of what is stored; and the
// comparison with it. It knows nothing of blocks, tiles or splits.
#pragma once

#include "attention_batch.h"

namespace kv8_test {

// One row: query `query` of a sequence, one head.
struct ExactRow {
    std::vector<double> out;
    std::vector<double> size;  // sum of p |v|: what errors are measured by
    // What one unit of the largest weight, on every key, comes to: sum of |v|, with the largest of the row scales on all.
    std::vector<double> reach;
    double lse = 0;
};

// A sequence's K and V as doubles, for all its rows.
class ExactSequence {
  public:
    ExactSequence(const AttentionCase& c, const CaseSequence& s) : case_(c), sequence_(s) {
        k_ = values(c.k, s.k, s.k_row);
        v_ = values(c.v, s.v, s.v_row);
    }

    ExactRow row(int query, int head) const {
        const int size = case_.head_size, kv_head = head / case_.group();
        const int position = sequence_.keys - sequence_.queries + query;
        std::vector<double> q(size_t(size), 0.0);
        for (int d = 0; d < size; d++)
            q[size_t(d)] = value_of(case_.q_dtype, sequence_.q[size_t((query * case_.q_heads + head) * size + d)]);
        const int first = case_.window > 0 ? std::max(0, position - case_.window + 1) : 0;
        std::vector<double> scores;
        for (int j = first; j <= position; j++) {
            const double* k = &k_[size_t(j * case_.kv_heads + kv_head) * size_t(size)];
            double s = 0;
            for (int d = 0; d < size; d++) s += q[size_t(d)] * k[d];
            s *= case_.softmax_scale;
            if (case_.softcap > 0) s = case_.softcap * std::tanh(s / case_.softcap);
            if (!case_.slopes.empty()) s += double(case_.slopes[size_t(head)]) * (j - position);
            scores.push_back(s);
        }
        ExactRow r;
        r.out.assign(size_t(size), 0.0);
        r.size.assign(size_t(size), 0.0);
        r.reach.assign(size_t(size), 0.0);
        double largest = case_.sinks.empty() ? -INFINITY : double(case_.sinks[size_t(head)]);
        if (scores.empty()) {
            r.lse = largest;
            return r;
        }
        const double largest_key = *std::max_element(scores.begin(), scores.end());
        largest = std::max(largest, largest_key);
        double largest_row = 0;
        for (size_t i = 0; i < scores.size(); i++)
            largest_row = std::max(largest_row, row_scale(first + int(i), kv_head));
        double all = case_.sinks.empty() ? 0 : std::exp(double(case_.sinks[size_t(head)]) - largest);
        for (double s : scores) all += std::exp(s - largest);
        for (size_t i = 0; i < scores.size(); i++) {
            const double p = std::exp(scores[i] - largest) / all;
            const double* v = &v_[size_t((first + int(i)) * case_.kv_heads + kv_head) * size_t(size)];
            for (int d = 0; d < size; d++) {
                r.out[size_t(d)] += p * v[d];
                r.size[size_t(d)] += p * std::abs(v[d]);
                r.reach[size_t(d)] += std::exp(largest_key - largest) / all * std::abs(v[d]) * largest_row /
                                      row_scale(first + int(i), kv_head);
            }
        }
        r.lse = largest + std::log(all);
        return r;
    }

  private:
    double row_scale(int key, int kv_head) const {
        return double(sequence_.v_row[size_t(key * case_.kv_heads + kv_head)]);
    }

    std::vector<double> values(const CaseSide& side, const std::vector<uint32_t>& elements,
                               const std::vector<float>& rows) const {
        const size_t size = size_t(case_.head_size), heads = size_t(case_.kv_heads);
        std::vector<double> table;
        if (bytes_of(side.dtype) == 1)
            for (uint32_t code = 0; code < 256; code++) table.push_back(value_of(side.dtype, code));
        std::vector<double> x(elements.size());
        for (size_t i = 0; i < x.size(); i++) {
            const double value = table.empty() ? value_of(side.dtype, elements[i]) : table[elements[i]];
            x[i] = value * (double(rows[i / size]) * side.chan[i % (size * heads)]);
        }
        return x;
    }

    const AttentionCase& case_;
    const CaseSequence& sequence_;
    std::vector<double> k_, v_;
};

// What a computation may be off by before its output is rounded to the stored dtype: of an element, as a part of sum p |v|, and
// of lse. Float32 throughout, or products of 16-bit floats where q is one and the device a GPU. There the weights of a cache
// that is not of bfloat16 are half floats, 2^14 at most: half their least step is 2^-39 of the largest, on each key, and is
// seen where the keys with more weight have zeros.
struct Tolerance {
    double out, lse, weight;
};
constexpr Tolerance kFloat32{1e-5, 1e-5, 0}, kTwoBFloats{2e-3, 2e-3, 0}, kHalfFloats{2e-3, 2e-3, 0x1p-39};
// A processor's products of pairs take a weight as two bfloat16, and round nothing else.
constexpr Tolerance kTwoBFloatsOnly{0x1p-16 + 1e-5, 1e-5, 0};
// An AMD MI200's products take factors below 2^-14 for zero: weights below 2^-28 of the largest.
constexpr Tolerance kFlushedHalfFloats{2e-3, 2e-3, 0x1p-28};

inline Tolerance tolerance_of(const TestDevice& device, const AttentionCase& c) {
    if (device.has_pairs() && c.q_dtype != KV8_F32 && (is_fp8(c.v.dtype) || c.v.dtype == KV8_BF16))
        return kTwoBFloatsOnly;
    if (!device.is_gpu() || c.q_dtype == KV8_F32) return kFloat32;
    if (c.v.dtype == KV8_BF16) return kTwoBFloats;
    if (device.info().arch != std::string("gfx90a")) return kHalfFloats;
    return c.v.dtype == KV8_F16 || c.v.dtype == KV8_E5M2 ? kFloat32 : kFlushedHalfFloats;
}

// The largest error of one element: of the computation, whose range ends near 1e-38, and of one rounding to the stored dtype.
inline double allowed_error(kv8_dtype out, double exact, double size, const Tolerance& tolerance = kFloat32) {
    const double arithmetic = tolerance.out * size + 1e-36;
    if (out == KV8_F32) return arithmetic;
    const double half_unit = out == KV8_BF16 ? 0x1p-8 : 0x1p-11;
    return arithmetic + half_unit * (std::abs(exact) + arithmetic) + 0x1p-25;
}

// Empty, or where and how far a result is from exact. NaN is never near anything.
inline std::string difference(const AttentionCase& c, const RowResult& got, const ExactRow& exact,
                              const Tolerance& tolerance) {
    std::ostringstream s;
    s.precision(9);
    for (size_t d = 0; d < exact.out.size(); d++) {
        const double x = value_of(c.out_dtype, got.out[d]);
        const double of_weights = tolerance.weight * exact.reach[d];
        if (!(std::abs(x - exact.out[d]) <=
              allowed_error(c.out_dtype, exact.out[d], exact.size[d], tolerance) + of_weights)) {
            s << "out[" << d << "] is " << x << ", exactly " << exact.out[d] << ", sum p|v| " << exact.size[d]
              << ", least step of weights " << of_weights;
            return s.str();
        }
    }
    if (exact.lse == -INFINITY ? got.lse != -INFINITY : !(std::abs(got.lse - exact.lse) <= tolerance.lse)) {
        s << "lse is " << got.lse << ", exactly " << exact.lse;
        return s.str();
    }
    return {};
}

}  // namespace kv8_test
