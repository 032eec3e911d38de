// The tests of what the door refuses, each with its status and message: a legal call of every kind (door_calls.h), of which a
// test changes one thing.
#pragma once

#include <limits>
#include <string>

#include "door_calls.h"
#include "refusals.h"

namespace kv8_test {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();

class Door : public testing::Test {
  protected:
    DoorCalls c;
    const bool gpu = c.test_device.is_gpu();

    // A call's status, or on a GPU what it found later.
    kv8_status finished(kv8_status call) const { return c.test_device.finished(call); }

    kv8_status cast() { return finished(kv8_cast(c.device, nullptr, &c.cast)); }
    kv8_status amax() { return finished(kv8_amax(c.device, nullptr, &c.amax)); }
    kv8_status write() { return finished(kv8_write(c.device, nullptr, &c.write)); }
    kv8_status gather() { return finished(kv8_gather(c.device, nullptr, &c.gather)); }
    kv8_status move() { return finished(kv8_move_blocks(c.device, nullptr, &c.move_blocks)); }
    kv8_status plan() { return finished(kv8_attention_plan(c.device, nullptr, &c.plan)); }
    kv8_status attend() { return finished(kv8_attention(c.device, nullptr, &c.attention)); }
    kv8_status merge() { return finished(kv8_merge_states(c.device, nullptr, &c.merge_states)); }
    kv8_status norm() { return finished(kv8_rms_norm(c.device, nullptr, &c.rms_norm)); }
    kv8_status rope() { return finished(kv8_rope(c.device, nullptr, &c.rope)); }
    kv8_status multiply() { return finished(kv8_matmul(c.device, nullptr, &c.matmul)); }
    kv8_status gate() { return finished(kv8_gate_mul(c.device, nullptr, &c.gate_mul)); }
    kv8_status cap() { return finished(kv8_softcap(c.device, nullptr, &c.softcap)); }
    kv8_status embed() { return finished(kv8_embedding(c.device, nullptr, &c.embedding)); }
    kv8_status sample() { return finished(kv8_sample(c.device, nullptr, &c.sample)); }

    // Sets a field for one refused call.
    template <class Field, class Value, class Call>
    void refuses(Field& field, Value value, const Call& call, const char* text,
                 kv8_status status = KV8_INVALID_ARGUMENT) {
        SCOPED_TRACE(text);
        const Field before = field;
        field = static_cast<Field>(value);
        EXPECT_REFUSED(call(), status, text);
        field = before;
        EXPECT_EQ(call(), KV8_OK) << "the call is legal without the change: " << kv8_last_error();
    }

    // A span must be there, aligned to its elements, and as large as it is.
    template <class Call>
    void needs(kv8_span& span, const std::string& name, int alignment, const Call& call) {
        refuses(span.ptr, 0, call, (name + ".ptr is null").c_str());
        refuses(
            span.bytes, span.bytes - 1, call,
            (name + " has " + std::to_string(span.bytes - 1) + " bytes; its shape needs " + std::to_string(span.bytes))
                .c_str(),
            KV8_BUFFER_TOO_SMALL);
        if (alignment > 1)
            refuses(span.ptr, span.ptr + 1, call, ("must be a multiple of " + std::to_string(alignment)).c_str());
        refuses(span.bytes, ~span.ptr + 1, call, "beyond the address space");
    }

    template <class Call>
    void needs_rows(kv8_rows& rows, const std::string& name, int64_t row_bytes, bool written, const Call& call) {
        const int size = bytes_of(rows.dtype);
        needs(rows.data, name + ".data", size, call);
        for (int dtype : {-1, int(KV8_E4M3FN), 7})
            refuses(rows.dtype, dtype, call,
                    (name + ".dtype is " + std::to_string(dtype) + "; allowed are KV8_F32 (0)").c_str());
        refuses(rows.token_stride, row_bytes - size, call,
                (name + ".token_stride is " + std::to_string(row_bytes - size)).c_str());
        refuses(rows.token_stride, INT64_MIN, call, (name + ".token_stride is -9223372036854775808").c_str());
        refuses(rows.token_stride, INT64_MAX / size * size, call, (name + ".data has").c_str(), KV8_BUFFER_TOO_SMALL);
        refuses(rows.token_stride, rows.token_stride + 1, call, (name + ".token_stride").c_str());
        if (rows.token_stride > row_bytes) {  // several heads
            refuses(rows.head_stride, 0, call, (name + ".head_stride is 0 bytes; a row has").c_str());
            if (written)
                refuses(rows.token_stride, row_bytes, call, "rows would overlap");
            else
                refuses(rows.head_stride, rows.head_stride + 1, call, "must be a multiple of the element's");
        }
    }

    struct Argument {
        const char* name;
        kv8_span& span;
    };

    // Two arguments may lie side by side, whichever is first, but share no bytes.
    template <class Call>
    void needs_apart(const Argument& written, const Argument& checked, const Call& call) {
        SCOPED_TRACE(std::string(written.name) + " and " + checked.name);
        kv8_span* const spans[] = {&written.span, &checked.span};
        const kv8_span before[] = {written.span, checked.span};
        const kv8_span memory = c.allocate(before[0].bytes + before[1].bytes + 64);
        for (int first : {0, 1}) {
            const uint64_t behind = (before[first].bytes + 63) / 64 * 64, within = (before[first].bytes - 1) / 64 * 64;
            for (uint64_t second : {behind, within}) {
                spans[first]->ptr = memory.ptr;
                spans[1 - first]->ptr = memory.ptr + second;
                for (int i : {0, 1})
                    std::memcpy(reinterpret_cast<void*>(spans[i]->ptr), reinterpret_cast<const void*>(before[i].ptr),
                                before[i].bytes);
                if (second == behind)
                    EXPECT_EQ(call(), KV8_OK) << kv8_last_error();
                else
                    EXPECT_REFUSED(call(), KV8_INVALID_ARGUMENT,
                                   std::string(written.name) + " and " + checked.name + " share bytes");
            }
        }
        for (int i : {0, 1}) *spans[i] = before[i];
    }

    template <class Call>
    void needs_apart(std::initializer_list<Argument> written, std::initializer_list<Argument> checked,
                     const Call& call) {
        for (const Argument& w : written)
            for (const Argument& r : checked) needs_apart(w, r, call);
    }

    template <class Args, class Call>
    void needs_struct_size(Args& args, const Call& call) {
        for (uint32_t size : {0u, 4u, uint32_t(sizeof(Args)) - 4, uint32_t(sizeof(Args)) + 8, ~0u})
            refuses(args.struct_size, size, call, ("args.struct_size is " + std::to_string(size)).c_str());
    }
};

}  // namespace kv8_test
