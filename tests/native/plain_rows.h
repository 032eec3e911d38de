// Rows of a mixed batch in host memory, for suites that compare with float64.
#pragma once

#include <cmath>
#include <random>
#include <vector>

#include "elements.h"
#include "exact_fp8.h"

namespace kv8_test {

// Rows [tokens][heads][width] with gaps between heads and tokens, which must keep their bits.
class Rows {
  public:
    Rows(kv8_dtype dtype, int tokens, int heads, int width)
        : elements_(dtype, static_cast<size_t>(tokens) * (static_cast<size_t>(heads) * (width + kHeadGap) + kTokenGap)),
          tokens_(tokens),
          heads_(heads),
          width_(width) {
        for (size_t i = 0; i < elements_.size(); i++) elements_.set(i, kGapBits);
    }

    kv8_rows rows() const {
        kv8_rows r{};
        r.data = elements_.span();
        r.head_stride = int64_t{width_ + kHeadGap} * bytes_of(dtype());
        r.token_stride = r.head_stride * heads_ + kTokenGap * bytes_of(dtype());
        r.dtype = dtype();
        return r;
    }

    kv8_dtype dtype() const { return elements_.dtype(); }
    uint32_t bits(int t, int h, int i) const { return elements_.at(index(t, h, i)); }
    float get(int t, int h, int i) const { return float_of(exact::convert(dtype(), KV8_F32, bits(t, h, i))); }
    void set(int t, int h, int i, float x) {
        elements_.set(index(t, h, i), exact::convert(KV8_F32, dtype(), bits_of(x)));
    }

    Rows& randomize(std::mt19937& random, float spread) {
        std::normal_distribution<float> normal(0, spread);
        for (int t = 0; t < tokens_; t++)
            for (int h = 0; h < heads_; h++)
                for (int i = 0; i < width_; i++) set(t, h, i, normal(random));
        return *this;
    }

    bool gaps_are_untouched() const {
        std::vector<bool> used(elements_.size());
        for (int t = 0; t < tokens_; t++)
            for (int h = 0; h < heads_; h++)
                for (int i = 0; i < width_; i++) used[index(t, h, i)] = true;
        for (size_t i = 0; i < used.size(); i++)
            if (!used[i] && elements_.at(i) != kGapBits) return false;
        return true;
    }

  private:
    static constexpr int kHeadGap = 3, kTokenGap = 5;
    static constexpr uint32_t kGapBits = 0x7bcd;

    size_t index(int t, int h, int i) const {
        return static_cast<size_t>(t) * (static_cast<size_t>(heads_) * (width_ + kHeadGap) + kTokenGap) +
               static_cast<size_t>(h) * (width_ + kHeadGap) + static_cast<size_t>(i);
    }

    Elements elements_;
    int tokens_, heads_, width_;
};

// One rounding to the dtype, and what a float32 computation may lose before it.
inline double tolerance(kv8_dtype dtype, double exact, double computation) {
    const double half_ulp = dtype == KV8_F32 ? 0x1p-24 : dtype == KV8_F16 ? 0x1p-11 : 0x1p-8;
    return std::abs(exact) * (half_ulp + computation) + (dtype == KV8_F16 ? 0x1p-25 : 1e-37);
}

}  // namespace kv8_test
