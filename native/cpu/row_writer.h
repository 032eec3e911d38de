// Rows into a cache, in its dtype and by its scales.
#pragma once

#include <algorithm>

#include "cpu/encode_numbers.h"
#include "cpu/row_scales.h"
#include "cpu/row_source.h"

namespace kv8::cpu::KV8_ISA {

// Stores quotients as codes, and counts those that saturate.
template <class Element>
KV8_INLINE void put_codes(uint8_t* to, f32 quotients, i32& saturated) {
    saturated = saturated - less(splat(Element::saturates_above), abs(quotients));
    if constexpr (Element::max_cached < Element::max_value) {
        const f32 most = splat(Element::max_cached), least = splat(-Element::max_cached);
        quotients = select(less(most, quotients), most, select(less(quotients, least), least, quotients));
    }
    Element::store(to, quotients);
}

// Stores a row's codes, whatever its values are, by its own scale (or one). Returns how many elements saturated.
template <class Element>
int64_t put_any_codes(uint8_t* to, const float* values, int width, const kv8_side& side, int64_t head,
                      float row_scale) {
    i32 saturated = splat(0);
    with_divisor(side, head, row_scale, [&](auto divide) {
        for (int d = 0; d < width; d += kLanes) put_codes<Element>(to + d, divide(load<f32>(values + d), d), saturated);
    });
    return any(saturated) ? int64_t(reduce_add(convert<float>(saturated))) : 0;
}

// Stores the codes of rows of numbers: of `count` sources, source(i) to to(i), by quotients(i)(x, d) for sixteen values x from
// channel d on. Returns a bit for each row whose codes are not right; there any bytes were stored.
template <class Element, class To, class SourceOf, class QuotientsOf>
uint32_t put_numbers(int count, int width, const To to, const SourceOf source, const QuotientsOf quotients) {
    uint32_t wrong = 0;
    for (int i = 0; i < count; i++) {
        NumberEncoder<typename Element::Format> encoder;
        uint8_t* const row = to(i);
        const auto by = quotients(i);
        source(i).for_each_two(
            width, KV8_LAMBDA(int64_t d, const f32& x, int64_t e, const f32& y) {
                encoder.put(row + d, by(x, d), x, row + e, by(y, e), y);
            });
        wrong |= uint32_t(!encoder.all_within(Element::max_cached)) << i;
    }
    return wrong;
}

// Stores rows of one side of a cache, and their own scales if the side keeps them.
template <class Element>
class RowWriter {
  public:
    RowWriter(const kv8_cache_view& view, const kv8_side& side) : view_(view), side_(side) {}

    // Rows of heads [begin, end) of a slot; source(head) is a head's.
    template <class SourceOf>
    void put(Slot slot, int64_t begin, int64_t end, const SourceOf& source) {
        if constexpr (!Element::fp8) {
            for (int64_t head = begin; head < end; head++) {
                uint8_t* const to = cache_row(view_, side_, slot, head);
                source(head).for_each_two(
                    view_.head_size, KV8_LAMBDA(int64_t d, const f32& x, int64_t e, const f32& y) {
                        Element::store(to + d * Element::bytes, x);
                        Element::store(to + e * Element::bytes, y);
                    });
            }
        } else {
            for (; begin < end; begin += kTogether) {
                const int count = int(std::min<int64_t>(end - begin, kTogether));
                if (has_row_scales(side_))
                    put_by_own_scales(slot, begin, count, source);
                else
                    put_by_channel_scales(slot, begin, count, source);
            }
        }
    }

    int64_t saturated() const { return saturated_; }

  private:
    // Rows that are encoded at one go. Their own scales are found before: one row's takes as long as many codes, several rows'
    // together not much longer.
    static constexpr int kTogether = 8;

    template <class SourceOf>
    KV8_INLINE void put_by_channel_scales(Slot slot, int64_t first, int count, const SourceOf& source) {
        uint32_t wrong = ~0u;
        if (!shares_scale(side_)) {
            if (kEncodesNumbers)
                wrong = put_numbers<Element>(
                    count, view_.head_size, rows_of(slot, first), [=](int i) { return source(first + i); },
                    [&side = side_, first](int i) {
                        return [&side, head = first + i ](const f32& x, int64_t d) __attribute__((always_inline)) {
                            return x / chan_lanes(side, head, d);
                        };
                    });
        } else {
            float scales[kTogether];
            for (int i = 0; i < count; i++) scales[i] = chan_scale(side_, first + i);
            bool ones = kEncodesNumbers;  // no scale: nothing to compute
            for (int i = 0; i < count; i++) ones &= scales[i] == 1;
            if (ones)
                wrong = put_numbers<Element>(
                    count, view_.head_size, rows_of(slot, first), [=](int i) { return source(first + i); },
                    [](int) {
                        return [](const f32& x, int64_t) __attribute__((always_inline)) { return x; };
                    });
            else if (prepare(scales, count))
                wrong = put_numbers<Element>(
                    count, view_.head_size, rows_of(slot, first), [=](int i) { return source(first + i); },
                    by_reciprocals());
        }
        for (int i = 0; i < count; i++) {
            if (!(wrong >> i & 1)) continue;
            Row row;
            take_row(row, source(first + i), view_.head_size);
            put_any(slot, first + i, row, 1);
        }
    }

    template <class SourceOf>
    KV8_INLINE void put_by_own_scales(Slot slot, int64_t first, int count, const SourceOf& source) {
        Row rows[kTogether];
        float scales[kTogether];
        for (int i = 0; i < count; i++) scales[i] = take_row(rows[i], source(first + i), view_.head_size);
        put_measured(slot, first, count, rows, scales);
    }

    // `scales` holds the rows' greatest magnitudes, and afterwards their scales.
    void put_measured(Slot slot, int64_t first, int count, const Row* rows, float* scales) {
        for (int i = 0; i < count; i++) {
            const float greatest = greatest_quotient(rows[i].x, scales[i], view_.head_size, side_, first + i);
            scales[i] = row_scale_for(greatest, Element::max_cached);
            store(row_scale(view_, side_, slot, first + i), scales[i]);
        }
        uint32_t wrong = ~0u;
        if (!shares_scale(side_)) {
            if (kEncodesNumbers)
                wrong = put_numbers<Element>(
                    count, view_.head_size, rows_of(slot, first), [rows](int i) { return source_of(rows[i]); },
                    [&side = side_, scales, first](int i) {
                        return [&side, own = scales[i], head = first + i ](const f32& x, int64_t d)
                            __attribute__((always_inline)) {
                            return x / joint_scale(own, chan_lanes(side, head, d));
                        };
                    });
        } else {
            float joint[kTogether];
            for (int i = 0; i < count; i++) joint[i] = joint_scale(scales[i], chan_scale(side_, first + i));
            if (prepare(joint, count))
                wrong = put_numbers<Element>(
                    count, view_.head_size, rows_of(slot, first), [rows](int i) { return source_of(rows[i]); },
                    by_reciprocals());
        }
        for (int i = 0; i < count; i++)
            if (wrong >> i & 1) put_any(slot, first + i, rows[i], scales[i]);
    }

    void put_any(Slot slot, int64_t head, const Row& row, float own) {
        uint8_t* const to = cache_row(view_, side_, slot, head);
        saturated_ += put_any_codes<Element>(to, row.x, view_.head_size, side_, head, own);
    }

    // Where rows of heads from `first` on lie in a slot.
    auto rows_of(Slot slot, int64_t first) const {
        return
            [at = cache_row(view_, side_, slot, first), stride = side_.head_stride](int i) { return at + i * stride; };
    }

    // Whether quotients by the scales are products with their reciprocals, which it prepares.
    bool prepare(const float* scales, int count) {
        if (!kEncodesNumbers) return false;
        bool exact = true;
        for (int i = 0; i < count; i++) {
            if (scales[i] != reciprocals_[i].scale()) reciprocals_[i] = Reciprocal(scales[i]);
            exact &= reciprocals_[i].is_exact();
        }
        return exact;
    }

    auto by_reciprocals() const {
        return [reciprocals = reciprocals_](int i) {
            return [by = reciprocals[i]](const f32& x, int64_t) __attribute__((always_inline)) { return by.times(x); };
        };
    }

    const kv8_cache_view& view_;
    const kv8_side& side_;
    Reciprocal reciprocals_[kTogether];
    int64_t saturated_ = 0;
};

}  // namespace kv8::cpu::KV8_ISA
