// Paged caches and batches of rows of random shape, layout and contents.
#pragma once

#include <algorithm>
#include <cmath>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "test_devices.h"
#include "elements.h"
#include "exact_fp8.h"

namespace kv8_test {

// How a side's static scales are laid out; kOdd has strides that no broadcast has.
enum class Chan { kNone, kTensor, kHead, kChannel, kOdd };

struct SideShape {
    kv8_dtype dtype = KV8_E4M3FN;
    Chan chan = Chan::kNone;
    bool row_scales = false;
};

struct CacheShape {
    int blocks = 4, block_size = 16, heads = 2, head_size = 64;
    SideShape k, v;
};

constexpr int kHeadSizes[] = {64, 80, 96, 112, 128, 192, 256};
constexpr Chan kChans[] = {Chan::kNone, Chan::kTensor, Chan::kHead, Chan::kChannel, Chan::kOdd};

template <class T, size_t N>
T any_of(const T (&values)[N], std::mt19937& random) {
    return values[random() % N];
}

inline SideShape any_side(std::mt19937& random) {
    SideShape side;
    side.dtype = any_of(kAll, random);
    if (is_fp8(side.dtype)) {
        side.chan = any_of(kChans, random);
        side.row_scales = random() % 2;
    }
    return side;
}

inline CacheShape any_shape(std::mt19937& random) {
    CacheShape shape;
    shape.blocks = 1 + static_cast<int>(random() % 5);
    shape.block_size = 8 * (1 + static_cast<int>(random() % 4));
    shape.heads = 1 + static_cast<int>(random() % 3);
    shape.head_size = any_of(kHeadSizes, random);
    shape.k = any_side(random);
    shape.v = any_side(random);
    return shape;
}

inline std::ostream& operator<<(std::ostream& out, const SideShape& s) {
    static const char* const names[] = {"no", "tensor", "head", "channel", "odd"};
    return out << name_of(s.dtype) << " with " << names[static_cast<int>(s.chan)] << " scales"
               << (s.row_scales ? " and row scales" : "");
}

inline std::ostream& operator<<(std::ostream& out, const CacheShape& s) {
    return out << s.blocks << " blocks of " << s.block_size << " tokens, " << s.heads << " heads of " << s.head_size
               << ", k " << s.k << ", v " << s.v << ", seed " << seed();
}

// The bytes of a cache, aligned as kv8_alloc does.
class Image {
  public:
    explicit Image(int64_t bytes = 0) : bytes_(static_cast<size_t>(bytes)), lines_((bytes_ + 63) / 64) {}

    uint8_t* data() { return reinterpret_cast<uint8_t*>(lines_.data()); }
    size_t size() const { return bytes_; }
    kv8_span span() { return {reinterpret_cast<uint64_t>(data()), bytes_}; }

  private:
    struct alignas(64) Line {
        uint8_t bytes[64];
    };
    size_t bytes_;
    std::vector<Line> lines_;
};

inline void expect_equal_bytes(Image& got, Image& want, const std::string& what) {
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); i++)
        ASSERT_EQ(+got.data()[i], +want.data()[i]) << what << ": byte " << i << " of the memory";
}

// A bug may hide behind one layout: gaps, order of sides and of scales are drawn anew for each cache.
class TestCache {
  public:
    TestCache(const CacheShape& shape, std::mt19937& random, bool packed = false) : shape_(shape) {
        view_.struct_size = sizeof(view_);
        view_.num_blocks = shape.blocks;
        view_.block_size = shape.block_size;
        view_.kv_heads = shape.heads;
        view_.head_size = shape.head_size;
        int64_t end = 0;
        lay_out(view_.k, shape.k, end, random, packed);
        lay_out(view_.v, shape.v, end, random, packed);
        view_.block_stride = (end + 15) / 16 * 16 + gap(random, packed);
        before = Image(view_.block_stride * shape.blocks);
        for (size_t i = 0; i < before.size(); i++) before.data()[i] = static_cast<uint8_t>(random());
        make_scales(view_.k, shape.k, k_chan_, random);
        make_scales(view_.v, shape.v, v_chan_, random);
    }
    TestCache(const TestCache&) = delete;
    TestCache& operator=(const TestCache&) = delete;

    Image before;  // garbage, until a test stores something else

    const CacheShape& shape() const { return shape_; }
    // This cache's layout over other bytes.
    kv8_cache_view view_of(Image& image) const {
        kv8_cache_view view = view_;
        view.memory = image.span();
        return view;
    }

    // Takes the other cache's static scales over: the same array, or the same numbers written out by channel.
    void take_scales(const TestCache& other, bool same_array) {
        take_scales(view_.k, other.view_.k, k_chan_, same_array);
        take_scales(view_.v, other.view_.v, v_chan_, same_array);
    }

    static float chan(const kv8_side& side, int head, int d) {
        if (side.chan.ptr == 0) return 1.0f;
        return reinterpret_cast<const float*>(side.chan.ptr)[head * side.chan_head_stride + d * side.chan_dim_stride];
    }

  private:
    static int64_t gap(std::mt19937& random, bool packed) {
        return packed ? 0 : static_cast<int64_t>(random() % 3) * 16;
    }

    void lay_out(kv8_side& side, const SideShape& shape, int64_t& end, std::mt19937& random, bool packed) const {
        const int64_t row = static_cast<int64_t>(shape_.head_size) * bytes_of(shape.dtype);
        side.dtype = shape.dtype;
        side.offset = (end + 15) / 16 * 16 + gap(random, packed);
        if (packed || random() % 2) {  // [head][slot]
            side.slot_stride = row + gap(random, packed);
            side.head_stride = side.slot_stride * shape_.block_size + gap(random, packed);
            end = side.offset + side.head_stride * shape_.heads;
        } else {  // [slot][head]
            side.head_stride = row + gap(random, packed);
            side.slot_stride = side.head_stride * shape_.heads + gap(random, packed);
            end = side.offset + side.slot_stride * shape_.block_size;
        }
        side.row_scale_offset = -1;
        if (!shape.row_scales) return;
        side.row_scale_offset = end + gap(random, packed) / 4;
        side.row_scale_head_stride = 4 * shape_.block_size + gap(random, packed) / 4;
        end = side.row_scale_offset + side.row_scale_head_stride * shape_.heads;
    }

    void make_scales(kv8_side& side, const SideShape& shape, std::vector<float>& scales, std::mt19937& random) const {
        if (shape.chan == Chan::kNone) return;
        const int64_t width = shape_.head_size;
        if (shape.chan == Chan::kHead) side.chan_head_stride = 1;
        if (shape.chan == Chan::kChannel) side.chan_head_stride = width, side.chan_dim_stride = 1;
        if (shape.chan == Chan::kOdd) side.chan_head_stride = 1, side.chan_dim_stride = shape_.heads + 2;
        scales.resize(
            static_cast<size_t>((shape_.heads - 1) * side.chan_head_stride + (width - 1) * side.chan_dim_stride + 1));
        for (float& scale : scales)
            scale = std::ldexp(1.0f + static_cast<float>(random() % 1000) / 1000, static_cast<int>(random() % 7) - 6);
        side.chan = span_of(scales);
    }

    void take_scales(kv8_side& side, const kv8_side& from, std::vector<float>& scales, bool same_array) const {
        if (!is_fp8(side.dtype)) return;
        if (same_array) {
            side.chan = from.chan;
            side.chan_head_stride = from.chan_head_stride;
            side.chan_dim_stride = from.chan_dim_stride;
            return;
        }
        scales.clear();
        for (int h = 0; h < shape_.heads; h++)
            for (int d = 0; d < shape_.head_size; d++) scales.push_back(chan(from, h, d));
        side.chan = span_of(scales);
        side.chan_head_stride = shape_.head_size;
        side.chan_dim_stride = 1;
    }

    CacheShape shape_;
    kv8_cache_view view_ = {};
    std::vector<float> k_chan_, v_chan_;
};

// Rows of a batch with gaps between them: [tokens][heads][width].
class TestRows {
  public:
    TestRows(kv8_dtype dtype, int tokens, int heads, int width, std::mt19937& random) {
        const int size = bytes_of(dtype);
        rows_.dtype = dtype;
        const int unit = random() % 2 ? 8 : 1;  // aligned as kernels like it, or hardly at all
        const auto gap = [&] { return static_cast<int>(random() % 9) / unit * unit; };
        rows_.head_stride = static_cast<int64_t>(width + gap()) * size;
        rows_.token_stride = rows_.head_stride * heads + static_cast<int64_t>(gap()) * size;
        bytes_.resize(static_cast<size_t>(rows_.token_stride * tokens));
        for (uint8_t& byte : bytes_) byte = static_cast<uint8_t>(random());
    }

    std::vector<uint8_t>& bytes() { return bytes_; }
    kv8_rows rows() { return rows_of(bytes_); }
    kv8_rows rows_of(std::vector<uint8_t>& bytes) const {
        kv8_rows rows = rows_;
        rows.data = span_of(bytes);
        return rows;
    }
    void set(int token, int head, int d, float x) {
        store_bits(rows_.dtype, at(token, head, d), exact::convert(KV8_F32, rows_.dtype, bits_of(x)));
    }
    std::vector<float> row(int token, int head, int width) {
        std::vector<float> row(static_cast<size_t>(width));
        for (int d = 0; d < width; d++)
            row[d] = float_of(exact::convert(rows_.dtype, KV8_F32, load_bits(rows_.dtype, at(token, head, d))));
        return row;
    }

  private:
    uint8_t* at(int token, int head, int d) {
        return bytes_.data() + token * rows_.token_stride + head * rows_.head_stride + d * bytes_of(rows_.dtype);
    }

    kv8_rows rows_ = {};
    std::vector<uint8_t> bytes_;
};

// Values as a model has them, with what it should not have: zeros, rows of zeros, denormals, infinities, NaN.
inline void fill_with_values(TestRows& rows, int tokens, int heads, int width, std::mt19937& random) {
    std::normal_distribution<float> normal;
    for (int t = 0; t < tokens; t++) {
        for (int h = 0; h < heads; h++) {
            const int kind = static_cast<int>(random() % 16);
            const float size = std::ldexp(1.0f, static_cast<int>(random() % 12) - 4);
            for (int d = 0; d < width; d++) {
                float x = normal(random) * size;
                if (kind == 0) x = 0;
                if (kind == 1) x = std::ldexp(x, -140);
                if (kind == 2 && random() % 8 == 0) x = float_of(random() % 2 ? 0x7F800000u : 0xFF800000u);
                if (kind == 2 && random() % 8 == 0) x = float_of(0xFFC00123u);
                if (kind == 3) x = std::ldexp(x, 110);
                if (random() % 64 == 0) x = -0.0f;
                rows.set(t, h, d, x);
            }
        }
    }
}

}  // namespace kv8_test
