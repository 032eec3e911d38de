// What the door refuses of the calls that an engine needs beside attention; see door.h.
#include "door.h"

namespace {

using kv8_test::Door;
using kv8_test::DoorCalls;
using kv8_test::kInfinity;
using kv8_test::kNaN;

TEST_F(Door, OfMatmul) {
    const auto call = [&] { return multiply(); };
    const int x_size = gpu ? 2 : 4;                              // bytes of an element
    const int x_row = (DoorCalls::kWidth * x_size + 3) / 4 * 4;  // rounded up for y's alignment
    kv8_matmul_args& m = c.matmul;
    refuses(m.tokens, -1, call, "tokens is -1");
    refuses(m.outputs, 0, call, "outputs is 0");
    refuses(m.inputs, 0, call, "inputs is 0");
    refuses(m.outputs, INT32_MAX, call, "y.token_stride is 96 bytes; a row has 8589934588");
    needs_rows(m.x, "x", DoorCalls::kWidth * x_size, false, call);
    needs_rows(m.y, "y", 24 * 4, true, call);
    refuses(m.y.dtype, KV8_F16, call,
            gpu ? "y.dtype is 1; it must be x's, 2, or KV8_F32 (0)" : "y.dtype is 1; it must be x's, 0, or");
    refuses(m.weights_dtype, KV8_E4M3FN, call, "weights_dtype is 3");
    if (gpu) refuses(m.weights_dtype, KV8_F16, call, "weights_dtype is 1; it must be x's, 2");
    refuses(m.sum_length, -1, call, "sum_length is -1");
    needs(m.weights, "weights", 2, call);
    needs(m.bias, "bias", 4, call);
    const kv8_span shared = c.allocate(4096);
    m.y.data = {shared.ptr + 1024, m.y.data.bytes};
    refuses(m.weights, shared, call, "y and weights share bytes");
    refuses(m.bias, kv8_span{m.y.data.ptr + 4 * 24 * 4, 24 * 4}, call, "y and bias share bytes");

    // Columns of one buffer may take turns, byte to byte.
    const kv8_span both = c.allocate(uint64_t(DoorCalls::kTokens * (x_row + 24 * 4)));
    m.x.token_stride = m.y.token_stride = x_row + 24 * 4;
    const auto put = [&](uint64_t x, uint64_t y) {
        m.x.data = {both.ptr + x, both.bytes - x};
        m.y.data = {both.ptr + y, both.bytes - y};
    };
    put(0, uint64_t(x_row));
    EXPECT_EQ(call(), KV8_OK) << kv8_last_error();
    put(24 * 4, 0);
    EXPECT_EQ(call(), KV8_OK) << kv8_last_error();
    put(uint64_t(24 * 4 - x_size), 0);
    EXPECT_REFUSED(call(), KV8_INVALID_ARGUMENT, "y and x share bytes");
    put(0, uint64_t(x_row - 4));
    EXPECT_REFUSED(call(), KV8_INVALID_ARGUMENT, "y and x share bytes");
    m.y.token_stride += 4;
    put(0, uint64_t(x_row));
    m.tokens = 3;
    EXPECT_REFUSED(call(), KV8_INVALID_ARGUMENT, "y and x share bytes");
    m.tokens = 1;
    EXPECT_EQ(call(), KV8_OK) << kv8_last_error();
}

TEST_F(Door, OfRmsNorm) {
    const auto call = [&] { return norm(); };
    refuses(c.rms_norm.tokens, -1, call, "tokens is -1");
    refuses(c.rms_norm.heads, 0, call, "heads is 0");
    refuses(c.rms_norm.width, -1, call, "width is -1");
    refuses(c.rms_norm.eps, kNaN, call, "eps is nan");
    refuses(c.rms_norm.eps, -1, call, "eps is -1");
    refuses(c.rms_norm.weight_dtype, KV8_E5M2, call, "weight_dtype is 4");
    needs(c.rms_norm.weight, "weight", 2, call);
    needs_rows(c.rms_norm.x, "x", DoorCalls::kWidth * 4, false, call);
    needs_rows(c.rms_norm.residual, "residual", DoorCalls::kWidth * 2, true, call);
    needs_rows(c.rms_norm.out, "out", DoorCalls::kWidth * 2, true, call);
}

TEST_F(Door, OfRopeTables) {
    const auto check = [&](kv8_rope_table& table, int32_t width, const auto& call) {
        for (int size : {-2, 3, width + 2, 258}) refuses(table.rotary_size, size, call, "rope.rotary_size is");
        for (int style : {-1, 2}) refuses(table.style, style, call, "rope.style is");
        refuses(table.table.ptr, 0, call, "rope.table.ptr is null");
        refuses(table.table.bytes, 127, call, "rope.table has 127 bytes; its shape needs 128", KV8_BUFFER_TOO_SMALL);
        refuses(table.table.bytes, 6 * 128, call,
                gpu ? "rope.positions[1] is 6; the table has positions 0 to 5"
                    : "rope.positions[1] is 6; the table of 768 bytes has positions 0 to 5");
        needs(table.positions, "rope.positions", 4, call);
        for (int position : {-1, 7, INT32_MAX, INT32_MIN})
            refuses(DoorCalls::at<int32_t>(table.positions, 2), position, call, "rope.positions[2] is");
        table = {};
        EXPECT_EQ(call(), KV8_OK) << "without rotation: " << kv8_last_error();
    };
    check(c.write.rope, DoorCalls::kHeadSize, [&] { return write(); });
    check(c.rope.rope, DoorCalls::kWidth, [&] { return rope(); });
}

TEST_F(Door, OfRope) {
    const auto call = [&] { return rope(); };
    refuses(c.rope.tokens, -1, call, "tokens is -1");
    refuses(c.rope.heads, 0, call, "heads is 0");
    refuses(c.rope.width, 0, call, "width is 0");
    needs_rows(c.rope.x, "x", DoorCalls::kWidth * 2, true, call);
}

TEST_F(Door, OfGateMul) {
    const auto call = [&] { return gate(); };
    refuses(c.gate_mul.tokens, -1, call, "tokens is -1");
    refuses(c.gate_mul.width, 0, call, "width is 0");
    for (int activation : {-1, 2})
        refuses(c.gate_mul.activation, activation, call, "allowed are KV8_SILU (0) and KV8_GELU_TANH (1)");
    needs_rows(c.gate_mul.gate, "gate", DoorCalls::kWidth * 4, false, call);
    needs_rows(c.gate_mul.up, "up", DoorCalls::kWidth * 2, false, call);
    needs_rows(c.gate_mul.out, "out", DoorCalls::kWidth * 2, true, call);
}

TEST_F(Door, OfSoftcap) {
    const auto call = [&] { return cap(); };
    refuses(c.softcap.tokens, -1, call, "tokens is -1");
    refuses(c.softcap.width, 0, call, "width is 0");
    for (float value : {0.0f, -30.0f, kNaN, kInfinity}) refuses(c.softcap.cap, value, call, "cap is ");
    needs_rows(c.softcap.x, "x", DoorCalls::kWidth * 2, true, call);
}

TEST_F(Door, OfEmbedding) {
    const auto call = [&] { return embed(); };
    refuses(c.embedding.tokens, -1, call, "tokens is -1");
    refuses(c.embedding.width, 0, call, "width is 0");
    refuses(c.embedding.vocabulary, 0, call, "vocabulary is 0");
    refuses(c.embedding.vocabulary, INT32_MAX, call, "table has", KV8_BUFFER_TOO_SMALL);
    refuses(c.embedding.table_dtype, KV8_E4M3FN, call, "table_dtype is 3");
    for (float value : {0.0f, -1.0f, kNaN, kInfinity}) refuses(c.embedding.scale, value, call, "scale is ");
    needs(c.embedding.table, "table", 2, call);
    needs(c.embedding.ids, "ids", 4, call);
    needs_rows(c.embedding.out, "out", DoorCalls::kWidth * 4, true, call);
    for (int id : {-1, 11, INT32_MAX})
        refuses(DoorCalls::at<int32_t>(c.embedding.ids, 4), id, call, "; the vocabulary has ids 0 to 10");
}

TEST_F(Door, OfSample) {
    const auto call = [&] { return sample(); };
    refuses(c.sample.tokens, -1, call, "tokens is -1");
    refuses(c.sample.vocabulary, 0, call, "vocabulary is 0");
    needs_rows(c.sample.logits, "logits", 53 * 4, false, call);
    needs(c.sample.sampling, "sampling", 4, call);
    needs(c.sample.ids, "ids", 4, call);
    auto& sampling = DoorCalls::at<kv8_sampling>(c.sample.sampling, 1);
    for (float value : {-1.0f, kNaN, kInfinity})
        refuses(sampling.temperature, value, call, "sampling[1].temperature is");
    for (float value : {0.0f, -1.0f, 1.5f, kNaN}) refuses(sampling.top_p, value, call, "sampling[1].top_p is");
    refuses(sampling.top_k, -1, call, "sampling[1].top_k is -1");
    for (float value : {1.0f, -0.5f, kNaN}) refuses(sampling.uniform, value, call, "sampling[1].uniform is");
    for (float value : {kNaN, kInfinity})
        refuses(DoorCalls::at<float>(c.sample.logits.data, 2 * 53 + 52), value, call,
                "logits of token 2 hold NaN or +infinity");
    DoorCalls::at<float>(c.sample.logits.data, 2 * 53 + 52) = -kInfinity;
    EXPECT_EQ(sample(), KV8_OK) << "one barred id: " << kv8_last_error();
    for (int i = 0; i < 53; i++) DoorCalls::at<float>(c.sample.logits.data, 53 + i) = -kInfinity;
    EXPECT_REFUSED(sample(), KV8_INVALID_ARGUMENT, "logits of token 1 hold NaN or +infinity, or nothing finite");
}

}  // namespace
