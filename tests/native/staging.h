// Calls of the kernels with arguments in host memory, on any device. Where a device does not share the host's memory, each
// range of bytes that the arguments name is copied to device memory of exactly that size, between bytes that nobody may
// touch, and back after the call. run() synchronizes, so that its status covers what GPUs report late.
#pragma once

#include <stdlib.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <vector>

#include "test_devices.h"

namespace kv8_test {

// Memory that kernels of a device use and the host does not look at, of exactly so many bytes. What lies beside them is watched
// by AddressSanitizer where the host's memory is shared, by an emulator, and else compared at the end.
class DeviceMemory {
  public:
    // At `offset` bytes beyond a multiple of 64.
    DeviceMemory(const TestDevice& device, uint64_t bytes, uint8_t value, uint64_t offset = 0)
        : device_(device), bytes_(bytes), guard_(device.is_emulated() ? 0 : 64) {
        if (device.shares_memory()) {
            void* memory = nullptr;
            if (posix_memalign(&memory, 64, offset + bytes + (bytes == 0)) != 0) throw std::bad_alloc();
            base_ = reinterpret_cast<uint64_t>(memory);
            at_ = base_ + offset;
        } else {
            EXPECT_EQ(
                kv8_alloc(device.handle(), guard_ + offset + bytes + guard_ + (bytes == 0), KV8_MEMORY_DEVICE, &base_),
                KV8_OK)
                << kv8_last_error();
            at_ = base_ + guard_ + offset;
            for (const kv8_span& guard : guards()) fill(guard, kGuardByte);
        }
        fill(span(), value);
    }
    ~DeviceMemory() {
        if (device_.shares_memory()) {
            free(reinterpret_cast<void*>(base_));
            return;
        }
        for (const kv8_span& guard : guards()) {
            std::vector<uint8_t> bytes(guard.bytes);
            copy(span_of(bytes), guard);
            EXPECT_EQ(bytes, std::vector<uint8_t>(guard.bytes, kGuardByte)) << device_.name() << " wrote beside a span";
        }
        EXPECT_EQ(kv8_free(device_.handle(), base_), KV8_OK) << kv8_last_error();
    }
    DeviceMemory(const DeviceMemory&) = delete;
    DeviceMemory& operator=(const DeviceMemory&) = delete;

    kv8_span span() const { return {at_, bytes_}; }
    void fill(uint8_t value) const { fill(span(), value); }
    void copy_in(const kv8_span& from) const { copy(span(), from); }
    void copy_out(const kv8_span& to) const { copy(to, span()); }

  private:
    static constexpr uint8_t kGuardByte = 0xC3;

    std::vector<kv8_span> guards() const { return {{base_, at_ - base_}, {at_ + bytes_, guard_}}; }
    void fill(const kv8_span& span, uint8_t value) const {
        EXPECT_EQ(device_.finished(kv8_fill(device_.handle(), nullptr, span, value)), KV8_OK) << kv8_last_error();
    }
    void copy(const kv8_span& to, const kv8_span& from) const {
        EXPECT_EQ(device_.finished(kv8_copy(device_.handle(), nullptr, to, from)), KV8_OK) << kv8_last_error();
    }

    const TestDevice& device_;
    uint64_t base_ = 0, at_ = 0;
    const uint64_t bytes_, guard_;
};

// The memory of one call. Spans that share bytes on the host share them on the device.
class Staging {
  public:
    explicit Staging(const TestDevice& device) : device_(device) {}

    void reads(kv8_span& span) { add(span, false); }
    void writes(kv8_span& span) { add(span, true); }
    void reads(kv8_rows& rows) { add(rows.data, false); }
    void writes(kv8_rows& rows) { add(rows.data, true); }
    void reads(kv8_rope_table& rope) {
        add(rope.table, false);
        add(rope.positions, false);
    }
    void reads(kv8_cache_view& view) { add(view, false); }
    void writes(kv8_cache_view& view) { add(view, true); }

    template <class Call>
    kv8_status run(const Call& call) {
        if (device_.shares_memory()) return device_.finished(call());
        copy_in();
        const kv8_status status = device_.finished(call());
        copy_out();
        return status;
    }

  private:
    struct Named {
        kv8_span* span;
        bool written;
    };
    struct Range {
        kv8_span host;
        bool written;
        std::unique_ptr<DeviceMemory> memory;
        uint64_t end() const { return host.ptr + host.bytes; }
    };

    void add(kv8_span& span, bool written) {
        if (span.ptr != 0 && span.bytes != 0) named_.push_back({&span, written});
    }
    void add(kv8_cache_view& view, bool written) {
        add(view.memory, written);
        add(view.k.chan, false);
        add(view.v.chan, false);
    }

    void copy_in() {
        std::sort(named_.begin(), named_.end(),
                  [](const Named& a, const Named& b) { return a.span->ptr < b.span->ptr; });
        for (const Named& n : named_) {
            if (ranges_.empty() || n.span->ptr >= ranges_.back().end())
                ranges_.push_back({{n.span->ptr, 0}, false, nullptr});
            Range& range = ranges_.back();
            range.host.bytes = std::max(range.end(), n.span->ptr + n.span->bytes) - range.host.ptr;
            range.written |= n.written;
        }
        size_t named = 0;
        for (Range& range : ranges_) {
            range.memory = std::make_unique<DeviceMemory>(device_, range.host.bytes, 0, range.host.ptr % 64);
            range.memory->copy_in(range.host);
            for (const uint64_t end = range.end(); named < named_.size() && named_[named].span->ptr < end; named++)
                named_[named].span->ptr += range.memory->span().ptr - range.host.ptr;
        }
    }

    void copy_out() {
        for (Range& range : ranges_) {
            if (range.written) {
                range.memory->copy_out(range.host);
                continue;
            }
            std::vector<uint8_t> bytes(range.host.bytes);
            range.memory->copy_out(span_of(bytes));
            EXPECT_EQ(std::memcmp(bytes.data(), reinterpret_cast<const void*>(range.host.ptr), bytes.size()), 0)
                << device_.name() << " wrote to an input";
        }
    }

    const TestDevice& device_;
    std::vector<Named> named_;
    std::vector<Range> ranges_;
};

// ---- the calls

inline kv8_cast_args cast_args(kv8_span src, kv8_dtype from, kv8_span dst, kv8_dtype to, size_t count,
                               float scale = 1) {
    kv8_cast_args args = {};
    args.struct_size = sizeof(args);
    args.scale = scale;
    args.src = src;
    args.dst = dst;
    args.src_dtype = from;
    args.dst_dtype = to;
    args.count = static_cast<int64_t>(count);
    return args;
}

inline kv8_status run(const TestDevice& device, kv8_cast_args args) {
    Staging staging(device);
    staging.reads(args.src);
    staging.writes(args.dst);
    return staging.run([&] { return kv8_cast(device.handle(), nullptr, &args); });
}

inline kv8_status run(const TestDevice& device, kv8_amax_args args) {
    Staging staging(device);
    staging.reads(args.x);
    staging.writes(args.out);
    return staging.run([&] { return kv8_amax(device.handle(), nullptr, &args); });
}

inline kv8_status run(const TestDevice& device, kv8_write_args args) {
    Staging staging(device);
    kv8_cache_view view = *args.view;
    args.view = &view;
    staging.writes(view);
    staging.reads(args.k);
    staging.reads(args.v);
    staging.reads(args.slots);
    staging.reads(args.rope);
    staging.writes(args.saturated);
    return staging.run([&] { return kv8_write(device.handle(), nullptr, &args); });
}

inline kv8_status run(const TestDevice& device, kv8_gather_args args) {
    Staging staging(device);
    kv8_cache_view view = *args.view;
    args.view = &view;
    staging.reads(view);
    staging.writes(args.k);
    staging.writes(args.v);
    staging.reads(args.slots);
    return staging.run([&] { return kv8_gather(device.handle(), nullptr, &args); });
}

inline kv8_status run(const TestDevice& device, kv8_move_blocks_args args) {
    Staging staging(device);
    kv8_cache_view src = *args.src, dst = *args.dst;
    args.src = &src;
    args.dst = &dst;
    staging.reads(src);
    staging.writes(dst);
    staging.reads(args.pairs);
    return staging.run([&] { return kv8_move_blocks(device.handle(), nullptr, &args); });
}

// The plan's arrays are the host's, and its workspace is the device's already.
inline kv8_status run(const TestDevice& device, kv8_attention_plan_args& args) {
    return device.finished(kv8_attention_plan(device.handle(), nullptr, &args));
}

// The plan is the device's already.
inline kv8_status run(const TestDevice& device, kv8_attention_args args) {
    Staging staging(device);
    kv8_cache_view view = *args.view;
    args.view = &view;
    staging.reads(view);
    staging.reads(args.block_table);
    staging.reads(args.q);
    staging.writes(args.out);
    staging.writes(args.lse);
    staging.reads(args.sinks);
    staging.reads(args.alibi_slopes);
    return staging.run([&] { return kv8_attention(device.handle(), nullptr, &args); });
}

inline kv8_status run(const TestDevice& device, kv8_merge_states_args args) {
    Staging staging(device);
    staging.reads(args.a);
    staging.reads(args.b);
    staging.writes(args.out);
    staging.reads(args.lse_a);
    staging.reads(args.lse_b);
    staging.writes(args.lse);
    return staging.run([&] { return kv8_merge_states(device.handle(), nullptr, &args); });
}

inline kv8_status run(const TestDevice& device, kv8_matmul_args args) {
    Staging staging(device);
    staging.reads(args.x);
    staging.writes(args.y);
    staging.reads(args.weights);
    staging.reads(args.bias);
    return staging.run([&] { return kv8_matmul(device.handle(), nullptr, &args); });
}

inline kv8_status run(const TestDevice& device, kv8_rms_norm_args args) {
    Staging staging(device);
    staging.reads(args.x);
    staging.writes(args.residual);
    staging.reads(args.weight);
    staging.writes(args.out);
    return staging.run([&] { return kv8_rms_norm(device.handle(), nullptr, &args); });
}

inline kv8_status run(const TestDevice& device, kv8_rope_args args) {
    Staging staging(device);
    staging.writes(args.x);
    staging.reads(args.rope);
    return staging.run([&] { return kv8_rope(device.handle(), nullptr, &args); });
}

inline kv8_status run(const TestDevice& device, kv8_gate_mul_args args) {
    Staging staging(device);
    staging.reads(args.gate);
    staging.reads(args.up);
    staging.writes(args.out);
    return staging.run([&] { return kv8_gate_mul(device.handle(), nullptr, &args); });
}

inline kv8_status run(const TestDevice& device, kv8_softcap_args args) {
    Staging staging(device);
    staging.writes(args.x);
    return staging.run([&] { return kv8_softcap(device.handle(), nullptr, &args); });
}

inline kv8_status run(const TestDevice& device, kv8_embedding_args args) {
    Staging staging(device);
    staging.reads(args.table);
    staging.reads(args.ids);
    staging.writes(args.out);
    return staging.run([&] { return kv8_embedding(device.handle(), nullptr, &args); });
}

inline kv8_status run(const TestDevice& device, kv8_sample_args args) {
    Staging staging(device);
    staging.reads(args.logits);
    staging.reads(args.sampling);
    staging.writes(args.ids);
    return staging.run([&] { return kv8_sample(device.handle(), nullptr, &args); });
}

}  // namespace kv8_test
