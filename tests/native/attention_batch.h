// One call of kv8_attention: selected query rows of a case in a paged cache of a chosen layout, and what the call
// wrote.
#pragma once

#include <memory>
#include <numeric>

#include "attention_cases.h"
#include "sparse_memory.h"
#include "staging.h"

namespace kv8_test {

// What a row gave: stored elements of out, and lse. Rows of a case are [sequence][query][q_head].
struct RowResult {
    std::vector<uint32_t> out;
    float lse = 0;
    bool operator==(const RowResult& other) const {
        return out == other.out && std::memcmp(&lse, &other.lse, sizeof(lse)) == 0;
    }
};

class AttentionBatch {
  public:
    AttentionBatch(const AttentionCase& c, std::vector<Part> parts, const Placement& placement)
        : case_(c), parts_(std::move(parts)), placement_(placement) {
        place_cache();
        place_rows();
        start_.push_back(0);
        for (const Part& part : parts_) {
            start_.push_back(start_.back() + part.queries);
            lens_.push_back(keys_of(part));
        }
    }

    kv8_status run(const TestDevice& device, uint32_t flags = KV8_PLAN_BATCH_INVARIANT, int plan_window = 0) {
        const kv8_status planned = plan(device, flags, plan_window);
        return planned == KV8_OK ? attend(device) : planned;
    }

    // Into a workspace of exactly the size that the device asks for, or into the one given.
    kv8_status plan(const TestDevice& device, uint32_t flags = KV8_PLAN_BATCH_INVARIANT, int window = 0,
                    std::shared_ptr<DeviceMemory> workspace = nullptr) {
        kv8_attention_plan_args p = {};
        p.struct_size = sizeof(p);
        p.flags = flags;
        p.num_seqs = int32_t(parts_.size());
        p.q_heads = case_.q_heads;
        p.kv_heads = case_.kv_heads;
        p.head_size = case_.head_size;
        p.window = window;
        p.query_start_loc = span_of(start_);
        p.seq_lens = span_of(lens_);
        const kv8_status sized = kv8_attention_plan(device.handle(), nullptr, &p);
        if (sized != KV8_OK) return sized;
        if (workspace == nullptr) workspace = std::make_shared<DeviceMemory>(device, p.workspace_bytes, 0xFF);
        workspace_ = std::move(workspace);
        p.workspace = workspace_->span();
        return kv8_test::run(device, p);
    }

    kv8_status attend(const TestDevice& device) {
        std::memset(out_->data(), kUntouched, out_->size());
        std::fill(lse_.begin(), lse_.end(), -12345.0f);
        if (sparse_ == nullptr) return kv8_test::run(device, args());
        // Too much to copy: the host's own addresses.
        const kv8_attention_args a = args();
        return device.finished(kv8_attention(device.handle(), nullptr, &a));
    }

    kv8_attention_args args() {
        kv8_attention_args a = {};
        a.struct_size = sizeof(a);
        a.window = case_.window;
        a.softmax_scale = case_.softmax_scale;
        a.softcap = case_.softcap;
        a.view = &view_;
        a.plan = workspace_->span();
        a.block_table = span_of(table_);
        a.block_table_stride = table_stride_;
        a.q = rows(*q_, case_.q_dtype, q_head_stride_, q_token_stride_);
        a.out = rows(*out_, case_.out_dtype, out_head_stride_, out_token_stride_);
        a.lse = span_of(lse_);
        if (!case_.sinks.empty()) a.sinks = span_of(case_.sinks);
        if (!case_.slopes.empty()) a.alibi_slopes = span_of(case_.slopes);
        return a;
    }

    // Query `query` of part `part`.
    RowResult result(int part, int query, int head) const {
        const int64_t token = start_[size_t(part)] + query;
        RowResult r;
        for (int d = 0; d < case_.head_size; d++)
            r.out.push_back(load_bits(case_.out_dtype, out_->data() + token * out_token_stride_ +
                                                           head * out_head_stride_ + d * bytes_of(case_.out_dtype)));
        r.lse = lse_[size_t(token * case_.q_heads + head)];
        return r;
    }

    // Whether the bytes of out that are in no row are as they were.
    bool gaps_untouched() const {
        std::vector<bool> in_row(out_->size());
        const int64_t row = int64_t(case_.head_size) * bytes_of(case_.out_dtype);
        for (int64_t token = 0; token < start_.back(); token++)
            for (int head = 0; head < case_.q_heads; head++)
                for (int64_t i = 0; i < row; i++)
                    in_row[size_t(token * out_token_stride_ + head * out_head_stride_ + i)] = true;
        for (size_t i = 0; i < in_row.size(); i++)
            if (!in_row[i] && out_->data()[i] != kUntouched) return false;
        return true;
    }

    std::vector<int32_t>& table() { return table_; }
    int64_t table_stride() const { return table_stride_; }
    const std::shared_ptr<DeviceMemory>& workspace() { return workspace_; }
    kv8_cache_view& view() { return view_; }
    int block_size() const { return placement_.block_size; }

    // Keys that some query of the part sees: [first, last).
    int first_key(const Part& part) const {
        if (part.queries == 0) return keys_of(part);
        const CaseSequence& s = case_.sequences[size_t(part.sequence)];
        return case_.window > 0 ? std::max(0, s.keys - s.queries + part.first_query - case_.window + 1) : 0;
    }
    int keys_of(const Part& part) const {
        const CaseSequence& s = case_.sequences[size_t(part.sequence)];
        return std::max(0, s.keys - s.queries + part.first_query + part.queries);
    }

  private:
    static constexpr uint8_t kUntouched = 0xA5;

    kv8_rows rows(const Bytes& bytes, kv8_dtype dtype, int64_t head_stride, int64_t token_stride) const {
        return {bytes.span(), token_stride, head_stride, dtype, 0};
    }

    static uint32_t garbage(kv8_dtype dtype, size_t i) {
        if (dtype == KV8_E5M2) return i % 3 == 0 ? 0x7Cu : i % 3 == 1 ? 0xFCu : 0x7Eu;
        return dtype == KV8_F32      ? 0x7FC00000u
               : dtype == KV8_F16    ? 0xFE00u
               : dtype == KV8_BF16   ? 0x7FC0u
               : dtype == KV8_E4M3FN ? (i % 2 ? 0x7Fu : 0xFFu)
                                     : 0x80u;
    }

    // Where a side lies in a block that begins with `at` other bytes; returns the bytes that follow.
    int64_t lay_out(const CaseSide& from, int64_t at, kv8_side& side) const {
        const int64_t row = int64_t(case_.head_size) * bytes_of(from.dtype);
        side.dtype = from.dtype;
        side.offset = at;
        side.slot_stride = placement_.slot_major ? row * case_.kv_heads : row;
        side.head_stride = placement_.slot_major ? row : row * placement_.block_size + placement_.head_gap;
        at += placement_.slot_major ? side.slot_stride * placement_.block_size : side.head_stride * case_.kv_heads;
        side.row_scale_offset = -1;
        if (from.has_rows()) {
            side.row_scale_offset = at;
            side.row_scale_head_stride = 4 * placement_.block_size;
            at += side.row_scale_head_stride * case_.kv_heads;
        }
        if (from.scales == Scales::kTensor) side.chan = {reinterpret_cast<uint64_t>(from.chan.data()), 4};
        if (from.scales == Scales::kHead || from.scales == Scales::kChannel || from.scales == Scales::kRowAndChannel) {
            side.chan = span_of(from.chan);
            side.chan_head_stride = case_.head_size;
            side.chan_dim_stride = from.scales == Scales::kHead ? 0 : 1;
        }
        return (at + 15) / 16 * 16;
    }

    uint8_t* block_at(int block) const {
        return reinterpret_cast<uint8_t*>(view_.memory.ptr) + block * view_.block_stride;
    }

    void fill_side(const kv8_side& side, int block) {
        uint8_t* const at = block_at(block);
        for (int h = 0; h < case_.kv_heads; h++)
            for (int slot = 0; slot < placement_.block_size; slot++)
                for (int d = 0; d < case_.head_size; d++)
                    store_bits(
                        side.dtype,
                        at + side.offset + h * side.head_stride + slot * side.slot_stride + d * bytes_of(side.dtype),
                        garbage(side.dtype, size_t(d + slot)));
    }

    void store_key(const kv8_side& side, int block, int slot, int key, const std::vector<uint32_t>& elements,
                   const std::vector<float>& row_scales) {
        uint8_t* const at = block_at(block);
        for (int h = 0; h < case_.kv_heads; h++) {
            const size_t row = size_t(key) * size_t(case_.kv_heads) + size_t(h);
            for (int d = 0; d < case_.head_size; d++)
                store_bits(side.dtype,
                           at + side.offset + h * side.head_stride + slot * side.slot_stride + d * bytes_of(side.dtype),
                           elements[row * size_t(case_.head_size) + size_t(d)]);
            if (side.row_scale_offset >= 0)
                std::memcpy(at + side.row_scale_offset + h * side.row_scale_head_stride + slot * 4, &row_scales[row],
                            4);
        }
    }

    void place_cache() {
        const int block_size = placement_.block_size;
        int needed = 0;
        for (const Part& part : parts_) {
            const int entries = (keys_of(part) + block_size - 1) / block_size;
            needed += entries;
            table_stride_ = std::max<int64_t>(table_stride_, entries + 1);
        }
        view_ = {};
        view_.struct_size = sizeof(view_);
        view_.num_blocks = placement_.first_id + needed + 3;
        view_.block_size = block_size;
        view_.kv_heads = case_.kv_heads;
        view_.head_size = case_.head_size;
        int64_t bytes = 0;
        if (placement_.v_first) bytes = lay_out(case_.v, bytes, view_.v);
        bytes = lay_out(case_.k, bytes, view_.k);
        if (!placement_.v_first) bytes = lay_out(case_.v, bytes, view_.v);
        view_.block_stride = bytes;
        const uint64_t all = uint64_t(bytes) * uint64_t(view_.num_blocks);
        if (placement_.head_gap > 0) {
            sparse_ = std::make_unique<SparseMemory>(all);
            view_.memory = sparse_->span();
        } else {  // 0xFF: row scales that nobody wrote are NaN
            cache_ = std::make_unique<Bytes>(all, 0xFF);
            view_.memory = cache_->span();
        }
        for (int block = placement_.first_id; block < view_.num_blocks; block++) {
            fill_side(view_.k, block);
            fill_side(view_.v, block);
        }

        std::vector<int32_t> ids(size_t(needed) + 3);
        std::iota(ids.begin(), ids.end(), placement_.first_id);
        Random random(placement_.ids);
        if (placement_.scattered) std::shuffle(ids.begin(), ids.end(), random);
        size_t next = 0;
        const int32_t unusable[] = {-1, INT_MIN, INT_MAX, -7, view_.num_blocks, view_.num_blocks + 12345};
        table_.resize(parts_.size() * size_t(table_stride_));
        for (size_t i = 0; i < table_.size(); i++) table_[i] = unusable[i % 6];
        for (size_t p = 0; p < parts_.size(); p++) {
            const CaseSequence& s = case_.sequences[size_t(parts_[p].sequence)];
            for (int key = first_key(parts_[p]); key < keys_of(parts_[p]); key++) {
                int32_t& entry = table_[p * size_t(table_stride_) + size_t(key / block_size)];
                if (key == first_key(parts_[p]) || key % block_size == 0) entry = ids[next++];
                store_key(view_.k, entry, key % block_size, key, s.k, s.k_row);
                store_key(view_.v, entry, key % block_size, key, s.v, s.v_row);
            }
        }
    }

    void place_rows() {
        int64_t tokens = 0;
        for (const Part& part : parts_) tokens += part.queries;
        q_head_stride_ = int64_t(case_.head_size) * bytes_of(case_.q_dtype) + placement_.gap;
        q_token_stride_ = q_head_stride_ * case_.q_heads + placement_.gap;
        out_head_stride_ = int64_t(case_.head_size) * bytes_of(case_.out_dtype) + placement_.gap;
        out_token_stride_ = out_head_stride_ * case_.q_heads + placement_.gap;
        q_ = std::make_unique<Bytes>(size_t(tokens * q_token_stride_), 0xFF);
        out_ = std::make_unique<Bytes>(size_t(tokens * out_token_stride_));
        lse_.resize(size_t(tokens) * size_t(case_.q_heads));
        int64_t token = 0;
        for (const Part& part : parts_)
            for (int query = 0; query < part.queries; query++, token++)
                for (int h = 0; h < case_.q_heads; h++)
                    for (int d = 0; d < case_.head_size; d++)
                        store_bits(
                            case_.q_dtype,
                            q_->data() + token * q_token_stride_ + h * q_head_stride_ + d * bytes_of(case_.q_dtype),
                            case_.sequences[size_t(part.sequence)]
                                .q[size_t(((part.first_query + query) * case_.q_heads + h) * case_.head_size + d)]);
    }

    const AttentionCase& case_;
    const std::vector<Part> parts_;
    const Placement placement_;
    kv8_cache_view view_ = {};
    std::unique_ptr<Bytes> cache_, q_, out_;
    std::unique_ptr<SparseMemory> sparse_;
    std::shared_ptr<DeviceMemory> workspace_;
    std::vector<int32_t> table_, start_, lens_;
    std::vector<float> lse_;
    int64_t table_stride_ = 0, q_head_stride_ = 0, q_token_stride_ = 0, out_head_stride_ = 0, out_token_stride_ = 0;
};

}  // namespace kv8_test
