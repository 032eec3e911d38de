// Graphs of a device: a captured decode step does in every launch what its calls do, bit for bit, with whatever lies in memory
// then: other rows, slots, block tables, scales and another plan. And what the CPU, which has none, says.
#include <algorithm>
#include <random>
#include <thread>
#include <vector>

#include "refusals.h"
#include "staging.h"

namespace kv8_test {
namespace {

constexpr int32_t kSequences = 3, kQueryHeads = 8, kHeads = 2, kHeadSize = 64, kBlockSize = 16, kBlocks = 64,
                  kMostBlocks = 40, kPositions = 1024;
constexpr int64_t kRow = kHeadSize, kSide = kHeads * kBlockSize * kRow, kBlock = 2 * kSide;

// What one decode step reads, as the host knows it.
struct Contents {
    std::vector<int32_t> lengths;  // of the sequences, the new token included
    std::vector<int32_t> positions, block_table;
    std::vector<int64_t> slots;
    std::vector<uint16_t> q, k, v;
    std::vector<float> scales;  // of K by channel, then of V
    std::vector<uint8_t> cache;

    Contents(std::vector<int32_t> all, std::mt19937& random) : lengths(std::move(all)) {
        const auto halves = [&](int heads) {
            std::vector<uint16_t> values(static_cast<size_t>(kSequences * heads * kHeadSize));
            for (uint16_t& value : values)  // float16 of 0.25 to 4, of either sign
                value = static_cast<uint16_t>(0x3400 + random() % 0x1000 + (random() % 2) * 0x8000);
            return values;
        };
        q = halves(kQueryHeads);
        k = halves(kHeads);
        v = halves(kHeads);
        for (int i = 0; i < 2 * kHeads * kHeadSize; i++)
            scales.push_back(0.01f + static_cast<float>(random() % 1000) / 10000);
        for (int64_t i = 0; i < kBlocks * kBlock; i++) {
            const auto code = static_cast<uint8_t>(random());
            cache.push_back((code & 0x7F) == 0x7F ? 0 : code);  // no NaN
        }
        // Blocks in any order; unused entries name none.
        std::vector<int32_t> order(kBlocks);
        for (int32_t i = 0; i < kBlocks; i++) order[static_cast<size_t>(i)] = i;
        std::shuffle(order.begin(), order.end(), random);
        size_t next = 0;
        for (const int32_t length : lengths) {
            for (int32_t b = 0; b < kMostBlocks; b++)
                block_table.push_back(b * kBlockSize < length ? order[next++] : -77);
            const int32_t position = length - 1, block = block_table[block_table.size() - kMostBlocks +
                                                                     static_cast<size_t>(position / kBlockSize)];
            positions.push_back(position);
            slots.push_back(int64_t{block} * kBlockSize + position % kBlockSize);
        }
    }
};

class DecodeStep {
  public:
    DecodeStep(const TestDevice& device, uint32_t flags) : device_(device) {
        std::vector<float> table;
        std::mt19937 random(7);
        for (int i = 0; i < kPositions * kHeadSize; i++)
            table.push_back(static_cast<float>(random() % 2000) / 1000 - 1);
        rope_.copy_in(span_of(table));
        view_.struct_size = sizeof(view_);
        view_.num_blocks = kBlocks;
        view_.block_size = kBlockSize;
        view_.kv_heads = kHeads;
        view_.head_size = kHeadSize;
        view_.block_stride = kBlock;
        view_.memory = cache_.span();
        side(view_.k, 0);
        side(view_.v, 1);
        plan_.struct_size = sizeof(plan_);
        plan_.flags = flags;
        plan_.q_heads = kQueryHeads;
        plan_.kv_heads = kHeads;
        plan_.head_size = kHeadSize;
        plan_.workspace = workspace_.span();
    }

    // Everything new in the same memory, the plan too.
    void put(const Contents& contents) {
        q_.copy_in(span_of(contents.q));
        k_.copy_in(span_of(contents.k));
        v_.copy_in(span_of(contents.v));
        slots_.copy_in(span_of(contents.slots));
        positions_.copy_in(span_of(contents.positions));
        block_table_.copy_in(span_of(contents.block_table));
        scales_.copy_in(span_of(contents.scales));
        cache_.copy_in(span_of(contents.cache));
        out_.fill(0xEE);
        make_plan({0, 1, 2, 3}, contents.lengths);
    }

    // In the same workspace, for any batch.
    void make_plan(std::vector<int32_t> starts, std::vector<int32_t> lengths) {
        starts_ = std::move(starts);
        lengths_ = std::move(lengths);
        plan_.num_seqs = static_cast<int32_t>(lengths_.size());
        plan_.query_start_loc = span_of(starts_);
        plan_.seq_lens = span_of(lengths_);
        ASSERT_EQ(kv8_attention_plan(device_.handle(), nullptr, &plan_), KV8_OK) << kv8_last_error();
    }

    void call(kv8_stream* stream) {
        kv8_write_args write{};
        write.struct_size = sizeof(write);
        write.tokens = kSequences;
        write.view = &view_;
        write.k = rows(k_, kHeads);
        write.v = rows(v_, kHeads);
        write.slots = slots_.span();
        write.rope.table = rope_.span();
        write.rope.positions = positions_.span();
        write.rope.rotary_size = kHeadSize;
        ASSERT_EQ(kv8_write(device_.handle(), stream, &write), KV8_OK) << kv8_last_error();
        kv8_attention_args attention{};
        attention.struct_size = sizeof(attention);
        attention.softmax_scale = 0.125f;
        attention.view = &view_;
        attention.plan = workspace_.span();
        attention.block_table = block_table_.span();
        attention.block_table_stride = kMostBlocks;
        attention.q = rows(q_, kQueryHeads);
        attention.out = rows(out_, kQueryHeads);
        ASSERT_EQ(kv8_attention(device_.handle(), stream, &attention), KV8_OK) << kv8_last_error();
        ASSERT_EQ(kv8_fill(device_.handle(), stream, {mark_.span().ptr, 8}, 0x5A), KV8_OK) << kv8_last_error();
        ASSERT_EQ(kv8_copy(device_.handle(), stream, {mark_.span().ptr + 8, 8}, {out_.span().ptr, 8}), KV8_OK)
            << kv8_last_error();
    }

    // All that the calls write.
    std::vector<uint8_t> results() const {
        std::vector<uint8_t> all;
        for (const DeviceMemory* memory : {&out_, &cache_, &mark_}) {
            std::vector<uint8_t> bytes(memory->span().bytes);
            memory->copy_out(span_of(bytes));
            all.insert(all.end(), bytes.begin(), bytes.end());
        }
        return all;
    }

    std::vector<uint8_t> output() const {
        std::vector<uint8_t> bytes(out_.span().bytes);
        out_.copy_out(span_of(bytes));
        return bytes;
    }
    void clear_mark() { mark_.fill(0); }
    const kv8_attention_plan_args& plan() const { return plan_; }

  private:
    static kv8_rows rows(const DeviceMemory& memory, int heads) {
        kv8_rows rows{};
        rows.data = memory.span();
        rows.head_stride = kHeadSize * 2;
        rows.token_stride = heads * rows.head_stride;
        rows.dtype = KV8_F16;
        return rows;
    }

    void side(kv8_side& side, int which) const {
        side.dtype = KV8_E4M3FN;
        side.offset = which * kSide;
        side.head_stride = kBlockSize * kRow;
        side.slot_stride = kRow;
        side.row_scale_offset = -1;
        const uint64_t bytes = kHeads * kHeadSize * sizeof(float);
        side.chan = {scales_.span().ptr + static_cast<uint64_t>(which) * bytes, bytes};
        side.chan_head_stride = kHeadSize;
        side.chan_dim_stride = 1;
    }

    const TestDevice& device_;
    DeviceMemory q_{device_, kSequences*kQueryHeads*kHeadSize * 2, 0}, out_{device_, q_.span().bytes, 0},
        k_{device_, kSequences*kHeads*kHeadSize * 2, 0}, v_{device_, k_.span().bytes, 0},
        slots_{device_, kSequences * 8, 0}, positions_{device_, kSequences * 4, 0},
        block_table_{device_, kSequences*kMostBlocks * 4, 0}, scales_{device_, 2 * kHeads*kHeadSize * 4, 0},
        cache_{device_, kBlocks*kBlock, 0}, rope_{device_, kPositions*kHeadSize * 4, 0},
        workspace_{device_, 1 << 20, 0}, mark_{device_, 16, 0};
    std::vector<int32_t> starts_, lengths_;
    kv8_cache_view view_{};
    kv8_attention_plan_args plan_{};
};

class Graph : public testing::Test {
  protected:
    const TestDevice& device = *devices().front();
    kv8_stream* stream = nullptr;
    kv8_graph* graph = nullptr;
    std::mt19937 random{static_cast<uint32_t>(seed())};

    void SetUp() override {
        if (!device.is_gpu()) GTEST_SKIP() << "graphs are a GPU's";
        ASSERT_EQ(kv8_stream_create(device.handle(), &stream), KV8_OK) << kv8_last_error();
    }
    void TearDown() override {
        if (stream != nullptr) {
            EXPECT_EQ(kv8_stream_destroy(device.handle(), stream), KV8_OK) << kv8_last_error();
        }
    }
    kv8_status begin() { return kv8_graph_begin(device.handle(), stream); }
    kv8_status end() { return kv8_graph_end(device.handle(), stream, &graph); }
    kv8_status launch(kv8_stream* on = nullptr) {
        return device.finished(kv8_graph_launch(device.handle(), on, graph));
    }
    kv8_status destroy() { return kv8_graph_destroy(device.handle(), graph); }
};

TEST_F(Graph, DoesInEachLaunchWhatItsCallsDo) {
    for (const uint32_t flags : {0u, uint32_t{KV8_PLAN_BATCH_INVARIANT}}) {
        SCOPED_TRACE(testing::Message() << "plan flags " << flags << ", seed " << seed());
        DecodeStep step(device, flags);
        // Long sequences are split and joined, which the first step's plan has no need of; and back.
        std::vector<Contents> all;
        for (const std::vector<int32_t>& lengths :
             {std::vector<int32_t>{5, 40, 17}, {1, 600, 2}, {33, 1, 1}, {300, 100, 200}})
            all.emplace_back(lengths, random);
        step.put(all.front());
        step.clear_mark();
        const std::vector<uint8_t> untouched = step.results();
        ASSERT_EQ(begin(), KV8_OK) << kv8_last_error();
        step.call(stream);
        ASSERT_EQ(end(), KV8_OK) << kv8_last_error();
        ASSERT_EQ(device.sync(), KV8_OK) << kv8_last_error();
        EXPECT_EQ(step.results(), untouched) << "capturing does nothing";
        for (const Contents& contents : all) {
            step.put(contents);
            step.clear_mark();
            step.call(nullptr);
            ASSERT_EQ(device.sync(), KV8_OK) << kv8_last_error();
            const std::vector<uint8_t> eager = step.results();
            EXPECT_NE(eager, untouched);
            step.put(contents);
            step.clear_mark();
            ASSERT_EQ(launch(), KV8_OK) << kv8_last_error();
            ASSERT_TRUE(step.results() == eager)
                << "sequences of " << contents.lengths[0] << ", " << contents.lengths[1] << ", " << contents.lengths[2];
        }
        EXPECT_EQ(destroy(), KV8_OK) << kv8_last_error();
    }
}

TEST_F(Graph, TellsOfIllegalValuesInMemory) {
    DecodeStep step(device, 0);
    Contents contents({5, 40, 17}, random);
    step.put(contents);
    ASSERT_EQ(begin(), KV8_OK) << kv8_last_error();
    step.call(stream);
    ASSERT_EQ(end(), KV8_OK) << kv8_last_error();
    EXPECT_EQ(launch(), KV8_OK) << kv8_last_error();
    contents.slots[1] = kBlocks * kBlockSize;
    step.put(contents);
    EXPECT_REFUSED(launch(), KV8_INVALID_ARGUMENT, "slots[1] is 1024; the cache has slots 0 to 1023");
    EXPECT_EQ(destroy(), KV8_OK) << kv8_last_error();
}

// The spans that it holds were checked against the plan of its capture. A larger one would lead beyond them.
TEST_F(Graph, ComputesNoPlanThatIsLargerThanTheCapturedOne) {
    for (const uint32_t flags : {0u, uint32_t{KV8_PLAN_BATCH_INVARIANT}}) {
        SCOPED_TRACE(testing::Message() << "plan flags " << flags << ", seed " << seed());
        DecodeStep step(device, flags);
        const Contents contents({5, 40, 17}, random);
        step.put(contents);
        step.call(nullptr);
        ASSERT_EQ(device.sync(), KV8_OK) << kv8_last_error();
        const std::vector<uint8_t> eager = step.output();
        ASSERT_EQ(begin(), KV8_OK) << kv8_last_error();
        step.call(stream);
        ASSERT_EQ(end(), KV8_OK) << kv8_last_error();
        const struct {
            std::vector<int32_t> starts, lengths;
            const char* words;
        } larger[] = {{{0, 1, 2, 3, 3}, {5, 40, 17, 9}, "plan is for 4 sequences; the call was made for 3"},
                      {{0, 1, 2, 10}, {5, 40, 17}, "plan is for 10 queries; the call was made for 3"},
                      {{0, 1, 2, 3}, {5, 40, 641}, "plan has a sequence of 641 keys; the call's block table holds 640"},
                      {{0, 40, 80, 120}, {50, 600, 700}, "plan is for 120 queries; the call was made for 3"}};
        for (const auto& each : larger) {
            step.put(contents);
            const std::vector<uint8_t> untouched = step.output();
            step.make_plan(each.starts, each.lengths);
            EXPECT_REFUSED(launch(), KV8_INVALID_ARGUMENT, each.words);
            EXPECT_TRUE(step.output() == untouched) << each.words;
        }
        // One of fewer is computed, and so is the captured batch's again.
        step.put(contents);
        step.make_plan({0, 1, 2}, {5, 40});
        EXPECT_EQ(launch(), KV8_OK) << kv8_last_error();
        std::vector<uint8_t> two = eager;
        std::fill(two.end() - static_cast<std::ptrdiff_t>(two.size() / 3), two.end(), uint8_t{0xEE});
        EXPECT_TRUE(step.output() == two);
        step.put(contents);
        EXPECT_EQ(launch(), KV8_OK) << kv8_last_error();
        EXPECT_TRUE(step.output() == eager);
        EXPECT_EQ(destroy(), KV8_OK) << kv8_last_error();
    }
}

TEST_F(Graph, IsNoneOfWhatCannotBeRepeated) {
    DecodeStep step(device, 0);
    step.put(Contents({5, 40, 17}, random));
    kv8_attention_plan_args plan = step.plan();
    uint64_t ptr = 0, freed = 0;
    char here[8] = {};
    kv8_stream* other = nullptr;
    ASSERT_EQ(kv8_stream_create(device.handle(), &other), KV8_OK) << kv8_last_error();
    ASSERT_EQ(kv8_alloc(device.handle(), 64, KV8_MEMORY_DEVICE, &freed), KV8_OK) << kv8_last_error();
    ASSERT_EQ(begin(), KV8_OK) << kv8_last_error();
    EXPECT_REFUSED(begin(), KV8_INVALID_ARGUMENT, "being captured into a graph already");
    for (kv8_stream* const on : {stream, other, static_cast<kv8_stream*>(nullptr)})
        EXPECT_REFUSED(kv8_attention_plan(device.handle(), on, &plan), KV8_INVALID_ARGUMENT,
                       "cannot hold kv8_attention_plan; call it before kv8_graph_begin");
    EXPECT_REFUSED(kv8_stream_sync(device.handle(), other), KV8_INVALID_ARGUMENT, "cannot hold kv8_stream_sync");
    EXPECT_REFUSED(kv8_copy(device.handle(), other, {plan.workspace.ptr, 8}, {reinterpret_cast<uint64_t>(here), 8}),
                   KV8_INVALID_ARGUMENT, "cannot hold a copy from or to pageable host memory");
    EXPECT_REFUSED(kv8_stream_sync(device.handle(), stream), KV8_INVALID_ARGUMENT, "waited for when the capture has");
    EXPECT_REFUSED(kv8_copy(device.handle(), stream, {reinterpret_cast<uint64_t>(here), 8}, {plan.workspace.ptr, 8}),
                   KV8_INVALID_ARGUMENT, "cannot copy from or to pageable host memory");
    EXPECT_REFUSED(kv8_alloc(device.handle(), 64, KV8_MEMORY_DEVICE, &ptr), KV8_INVALID_ARGUMENT,
                   "cannot hold kv8_alloc; call it before kv8_graph_begin");
    EXPECT_REFUSED(kv8_free(device.handle(), plan.workspace.ptr), KV8_INVALID_ARGUMENT, "cannot hold kv8_free");
    kv8_stream* third = nullptr;
    EXPECT_REFUSED(kv8_stream_create(device.handle(), &third), KV8_INVALID_ARGUMENT, "cannot hold kv8_stream_create");
    std::thread([&] {
        EXPECT_REFUSED(end(), KV8_INVALID_ARGUMENT, "Another thread is capturing the stream");
        EXPECT_EQ(kv8_alloc(device.handle(), 64, KV8_MEMORY_DEVICE, &ptr), KV8_OK) << kv8_last_error();
        EXPECT_EQ(kv8_free(device.handle(), freed), KV8_OK) << kv8_last_error();
        EXPECT_REFUSED(kv8_free(device.handle(), freed), KV8_INVALID_ARGUMENT, "it was freed, or never came");
        EXPECT_EQ(kv8_stream_sync(device.handle(), other), KV8_OK) << kv8_last_error();
        EXPECT_REFUSED(kv8_attention_plan(device.handle(), stream, &plan), KV8_INVALID_ARGUMENT,
                       "make the plan on a stream");
    }).join();
    // None of these is in the graph, and none has ended the capture.
    step.call(stream);
    ASSERT_EQ(end(), KV8_OK) << kv8_last_error();
    EXPECT_EQ(launch(stream), KV8_OK) << kv8_last_error();
    const std::vector<uint8_t> launched = step.results();
    step.put(Contents({5, 40, 17}, random));
    EXPECT_EQ(kv8_free(device.handle(), ptr), KV8_OK) << kv8_last_error();
    EXPECT_EQ(destroy(), KV8_OK) << kv8_last_error();
    EXPECT_REFUSED(launch(), KV8_INVALID_ARGUMENT, "is not a graph of this device");
    EXPECT_NE(launched, step.results());
    EXPECT_EQ(kv8_stream_destroy(device.handle(), other), KV8_OK) << kv8_last_error();
}

TEST_F(Graph, IsCapturedOfAStreamThatItsThreadHasBegun) {
    EXPECT_REFUSED(kv8_graph_begin(device.handle(), nullptr), KV8_INVALID_ARGUMENT,
                   "default stream cannot be captured into a graph. Capture a stream of kv8_stream_create");
    EXPECT_REFUSED(end(), KV8_INVALID_ARGUMENT, "not being captured into a graph; call kv8_graph_begin first");
    // One of no call can be launched; none can be captured into another.
    ASSERT_EQ(begin(), KV8_OK) << kv8_last_error();
    ASSERT_EQ(end(), KV8_OK) << kv8_last_error();
    EXPECT_EQ(launch(), KV8_OK) << kv8_last_error();
    ASSERT_EQ(begin(), KV8_OK) << kv8_last_error();
    EXPECT_REFUSED(kv8_graph_launch(device.handle(), stream, graph), KV8_INVALID_ARGUMENT, "cannot hold another graph");
    kv8_graph* const first = graph;
    ASSERT_EQ(end(), KV8_OK) << kv8_last_error();
    EXPECT_EQ(destroy(), KV8_OK) << kv8_last_error();
    EXPECT_EQ(kv8_graph_destroy(device.handle(), first), KV8_OK) << kv8_last_error();
}

TEST_F(Graph, IsToldOfInTheDevicesInfo) {
    kv8_device_info info{};
    info.struct_size = sizeof(info);
    ASSERT_EQ(kv8_device_get_info(device.handle(), &info), KV8_OK) << kv8_last_error();
    EXPECT_EQ(info.captures_graphs, 1);
}

TEST(GraphOfTheCpu, IsNone) {
    kv8_backend* cpu = nullptr;
    ASSERT_EQ(kv8_backend_cpu(&cpu), KV8_OK);
    kv8_device_options options{};
    options.struct_size = sizeof(options);
    kv8_device* device = nullptr;
    ASSERT_EQ(kv8_device_open(cpu, &options, &device), KV8_OK) << kv8_last_error();
    kv8_stream* stream = nullptr;
    ASSERT_EQ(kv8_stream_create(device, &stream), KV8_OK);
    kv8_graph* graph = nullptr;
    EXPECT_REFUSED(kv8_graph_begin(device, stream), KV8_UNSUPPORTED, "The CPU backend has no graphs");
    EXPECT_REFUSED(kv8_graph_begin(device, nullptr), KV8_UNSUPPORTED, "Make the calls themselves.");
    EXPECT_REFUSED(kv8_graph_end(device, stream, &graph), KV8_UNSUPPORTED, "The CPU backend has no graphs");
    EXPECT_REFUSED(kv8_graph_end(device, stream, nullptr), KV8_INVALID_ARGUMENT, "out is null");
    EXPECT_REFUSED(kv8_graph_launch(device, stream, nullptr), KV8_INVALID_ARGUMENT, "graph is null");
    EXPECT_REFUSED(kv8_graph_destroy(device, nullptr), KV8_INVALID_ARGUMENT, "graph is null");
    kv8_device_info info{};
    info.struct_size = sizeof(info);
    ASSERT_EQ(kv8_device_get_info(device, &info), KV8_OK);
    EXPECT_EQ(info.captures_graphs, 0);
    EXPECT_EQ(kv8_device_close(device), KV8_OK);
}

}  // namespace
}  // namespace kv8_test
