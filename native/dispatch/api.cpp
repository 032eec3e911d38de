// The C entry points. Each looks its handles up, has its arguments checked, and calls the backend's function; what any of
// these throws becomes a status and a message.
#include <cstring>

#include "dispatch/checks.h"
#include "dispatch/error.h"
#include "dispatch/registry.h"

using namespace kv8;
using namespace kv8::dispatch;

namespace {

template <class Body>
kv8_status entry(const Body& body) noexcept {
    return guarded(remember_failure, body);
}

template <class T>
void require(const char* name, T* pointer) {
    if (pointer == nullptr) refuse(KV8_INVALID_ARGUMENT, "%s is null.", name);
}

// What every kernel's entry does; `check` answers whether there is anything to do.
template <class Args>
kv8_status run(kv8_device* device, kv8_stream* stream, Args* args,
               kv8_status (*kv8_backend_table::*kernel)(kv8_impl_device*, kv8_impl_stream*, Args*)) {
    return entry([&] {
        DeviceCall call(device);
        kv8_impl_stream* on = call.stream(stream);
        require("args", args);
        if (!check(*args)) return kv8_status{KV8_OK};
        return (call.table().*kernel)(call.impl(), on, args);
    });
}

}  // namespace

extern "C" {

uint32_t kv8_abi_version(void) { return KV8_ABI_VERSION; }

const char* kv8_last_error(void) { return last_failure(); }

kv8_status kv8_backend_cpu(kv8_backend** out) {
    return entry([&] {
        require("out", out);
        *out = &cpu_backend();
        return KV8_OK;
    });
}

kv8_status kv8_backend_load(const char* path, kv8_backend** out) {
    return entry([&] {
        require("out", out);
        *out = &load_backend(path);
        return KV8_OK;
    });
}

const char* kv8_backend_name(const kv8_backend* backend) {
    const char* name = "";
    entry([&] {
        name = find_backend(backend).table->name;
        return KV8_OK;
    });
    return name;
}

kv8_status kv8_device_count(kv8_backend* backend, int32_t* count) {
    return entry([&] {
        require("count", count);
        return find_backend(backend).table->device_count(count);
    });
}

kv8_status kv8_device_open(kv8_backend* backend, const kv8_device_options* options, kv8_device** out) {
    return entry([&] {
        const kv8_backend& known = find_backend(backend);
        require("options", options);
        require("out", out);
        check_struct_size("options", options->struct_size, sizeof(*options));
        int32_t count = 0;
        if (kv8_status status = known.table->device_count(&count)) return status;
        if (options->ordinal < 0 || options->ordinal >= count)
            refuse(KV8_INVALID_ARGUMENT, "options.ordinal is %d; the %s backend has %d device(s), counted from 0.",
                   options->ordinal, known.table->name, count);
        kv8_impl_device* impl = nullptr;
        if (kv8_status status = known.table->device_open(options, &impl)) return status;
        *out = add_device(known, impl);
        return kv8_status{KV8_OK};
    });
}

kv8_status kv8_device_close(kv8_device* device) {
    return entry([&] { return close_device(device); });
}

kv8_status kv8_device_get_info(kv8_device* device, kv8_device_info* info) {
    return entry([&] {
        DeviceCall call(device);
        require("info", info);
        check_struct_size("info", info->struct_size, sizeof(*info));
        return call.table().device_info(call.impl(), info);
    });
}

kv8_status kv8_stream_create(kv8_device* device, kv8_stream** out) {
    return entry([&] {
        DeviceCall call(device);
        require("out", out);
        kv8_impl_stream* stream = nullptr;
        if (kv8_status status = call.table().stream_create(call.impl(), &stream)) return status;
        *out = call.add_stream(stream);
        return kv8_status{KV8_OK};
    });
}

kv8_status kv8_stream_wrap(kv8_device* device, uint64_t native, kv8_stream** out) {
    return entry([&] {
        DeviceCall call(device);
        require("out", out);
        kv8_impl_stream* stream = nullptr;
        if (kv8_status status = call.table().stream_wrap(call.impl(), native, &stream)) return status;
        *out = call.add_stream(stream);
        return kv8_status{KV8_OK};
    });
}

kv8_status kv8_stream_sync(kv8_device* device, kv8_stream* stream) {
    return entry([&] {
        DeviceCall call(device);
        return call.table().stream_sync(call.impl(), call.stream(stream));
    });
}

kv8_status kv8_stream_destroy(kv8_device* device, kv8_stream* stream) {
    return entry([&] {
        DeviceCall call(device);
        require("stream", stream);
        return call.table().stream_destroy(call.impl(), call.remove_stream(stream));
    });
}

kv8_status kv8_alloc(kv8_device* device, uint64_t bytes, int32_t kind, uint64_t* out) {
    return entry([&] {
        DeviceCall call(device);
        require("out", out);
        check_alloc(bytes, kind);
        return call.table().alloc(call.impl(), bytes, kind, out);
    });
}

kv8_status kv8_free(kv8_device* device, uint64_t ptr) {
    return entry([&] {
        DeviceCall call(device);
        return call.table().free(call.impl(), ptr);
    });
}

kv8_status kv8_copy(kv8_device* device, kv8_stream* stream, kv8_span dst, kv8_span src) {
    return entry([&] {
        DeviceCall call(device);
        kv8_impl_stream* on = call.stream(stream);
        if (!check_copy(dst, src)) return kv8_status{KV8_OK};
        return call.table().copy(call.impl(), on, dst, src);
    });
}

kv8_status kv8_fill(kv8_device* device, kv8_stream* stream, kv8_span dst, uint8_t value) {
    return entry([&] {
        DeviceCall call(device);
        kv8_impl_stream* on = call.stream(stream);
        if (!check_fill(dst)) return kv8_status{KV8_OK};
        return call.table().fill(call.impl(), on, dst, value);
    });
}

kv8_status kv8_graph_begin(kv8_device* device, kv8_stream* stream) {
    return entry([&] {
        DeviceCall call(device);
        return call.table().graph_begin(call.impl(), call.stream(stream));
    });
}

kv8_status kv8_graph_end(kv8_device* device, kv8_stream* stream, kv8_graph** out) {
    return entry([&] {
        DeviceCall call(device);
        kv8_impl_stream* on = call.stream(stream);
        require("out", out);
        kv8_impl_graph* graph = nullptr;
        if (kv8_status status = call.table().graph_end(call.impl(), on, &graph)) return status;
        *out = call.add_graph(graph);
        return kv8_status{KV8_OK};
    });
}

kv8_status kv8_graph_launch(kv8_device* device, kv8_stream* stream, kv8_graph* graph) {
    return entry([&] {
        DeviceCall call(device);
        kv8_impl_stream* on = call.stream(stream);
        require("graph", graph);
        return call.table().graph_launch(call.impl(), on, call.graph(graph));
    });
}

kv8_status kv8_graph_destroy(kv8_device* device, kv8_graph* graph) {
    return entry([&] {
        DeviceCall call(device);
        require("graph", graph);
        return call.table().graph_destroy(call.impl(), call.remove_graph(graph));
    });
}

kv8_status kv8_cast(kv8_device* device, kv8_stream* stream, const kv8_cast_args* args) {
    return run(device, stream, args, &kv8_backend_table::cast);
}

kv8_status kv8_amax(kv8_device* device, kv8_stream* stream, const kv8_amax_args* args) {
    return run(device, stream, args, &kv8_backend_table::amax);
}

kv8_status kv8_write(kv8_device* device, kv8_stream* stream, const kv8_write_args* args) {
    return run(device, stream, args, &kv8_backend_table::write);
}

kv8_status kv8_gather(kv8_device* device, kv8_stream* stream, const kv8_gather_args* args) {
    return run(device, stream, args, &kv8_backend_table::gather);
}

kv8_status kv8_move_blocks(kv8_device* device, kv8_stream* stream, const kv8_move_blocks_args* args) {
    return run(device, stream, args, &kv8_backend_table::move_blocks);
}

kv8_status kv8_attention_plan(kv8_device* device, kv8_stream* stream, kv8_attention_plan_args* args) {
    return run(device, stream, args, &kv8_backend_table::attention_plan);
}

kv8_status kv8_attention(kv8_device* device, kv8_stream* stream, const kv8_attention_args* args) {
    return run(device, stream, args, &kv8_backend_table::attention);
}

kv8_status kv8_merge_states(kv8_device* device, kv8_stream* stream, const kv8_merge_states_args* args) {
    return run(device, stream, args, &kv8_backend_table::merge_states);
}

kv8_status kv8_matmul(kv8_device* device, kv8_stream* stream, const kv8_matmul_args* args) {
    return run(device, stream, args, &kv8_backend_table::matmul);
}

kv8_status kv8_rms_norm(kv8_device* device, kv8_stream* stream, const kv8_rms_norm_args* args) {
    return run(device, stream, args, &kv8_backend_table::rms_norm);
}

kv8_status kv8_rope(kv8_device* device, kv8_stream* stream, const kv8_rope_args* args) {
    return run(device, stream, args, &kv8_backend_table::rope);
}

kv8_status kv8_gate_mul(kv8_device* device, kv8_stream* stream, const kv8_gate_mul_args* args) {
    return run(device, stream, args, &kv8_backend_table::gate_mul);
}

kv8_status kv8_softcap(kv8_device* device, kv8_stream* stream, const kv8_softcap_args* args) {
    return run(device, stream, args, &kv8_backend_table::softcap);
}

kv8_status kv8_embedding(kv8_device* device, kv8_stream* stream, const kv8_embedding_args* args) {
    return run(device, stream, args, &kv8_backend_table::embedding);
}

kv8_status kv8_sample(kv8_device* device, kv8_stream* stream, const kv8_sample_args* args) {
    return run(device, stream, args, &kv8_backend_table::sample);
}

}  // extern "C"
