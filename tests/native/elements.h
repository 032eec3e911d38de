// Arrays of any of the seven dtypes, element by element as bits.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "test_devices.h"

namespace kv8_test {

inline uint32_t load_bits(kv8_dtype dtype, const void* from) {
    uint32_t bits = 0;
    std::memcpy(&bits, from, static_cast<size_t>(bytes_of(dtype)));  // little-endian, as every machine that kv8 runs on
    return bits;
}

inline void store_bits(kv8_dtype dtype, void* to, uint32_t bits) {
    std::memcpy(to, &bits, static_cast<size_t>(bytes_of(dtype)));
}

inline uint32_t bits_of(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof(bits));
    return bits;
}

inline float float_of(uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, sizeof(x));
    return x;
}

class Elements {
  public:
    Elements(kv8_dtype dtype, size_t count) : dtype_(dtype), bytes_(count * static_cast<size_t>(bytes_of(dtype))) {}
    Elements(kv8_dtype dtype, const std::vector<uint32_t>& values) : Elements(dtype, values.size()) {
        for (size_t i = 0; i < values.size(); i++) set(i, values[i]);
    }

    kv8_dtype dtype() const { return dtype_; }
    size_t size() const { return bytes_.size() / static_cast<size_t>(bytes_of(dtype_)); }
    uint32_t at(size_t i) const { return load_bits(dtype_, bytes_.data() + i * static_cast<size_t>(bytes_of(dtype_))); }
    void set(size_t i, uint32_t bits) {
        store_bits(dtype_, bytes_.data() + i * static_cast<size_t>(bytes_of(dtype_)), bits);
    }
    kv8_span span() const { return span_of(bytes_); }

  private:
    kv8_dtype dtype_;
    std::vector<uint8_t> bytes_;
};

}  // namespace kv8_test
