// The plug-in's table. Kernel calls are put on their stream and return; a device is called from any number of threads.
#include "gpu/host/backend.h"

#include <cstdio>
#include <thread>

#include "dispatch/error.h"
#include "gpu/host/attention.h"
#include "gpu/host/device.h"
#include "gpu/host/kernel_calls.h"
#include "gpu/host/native_fp8.h"

struct kv8_impl_device : kv8::gpu::Device {
    using Device::Device;
};

struct kv8_impl_stream {
    kv8::gpu::Stream native;
    bool owned;  // else the caller's
};

struct kv8_impl_graph {
    kv8::gpu::Graph native;
};

namespace kv8::gpu {
namespace {

kv8_fail fail;
Driver* driver;

Stream native(const kv8_impl_stream* stream) { return stream == nullptr ? 0 : stream->native; }

template <class Body>
kv8_status on_device(kv8_impl_device* device, const Body& body) {
    return guarded(fail, [&] {
        device->require_present();
        try {
            body();
        } catch (const DeviceLost& lost) {
            device->lose(lost.text);
            device->require_present();
        }
        return kv8_status{KV8_OK};
    });
}

// ---- devices

// A call before there is a device that could be lost.
template <class Body>
kv8_status on_driver(const Body& body) {
    return guarded(fail, [&] {
        try {
            body();
        } catch (const DeviceLost& lost) {
            refuse(KV8_DEVICE_ERROR, "%s", lost.text.c_str());
        }
        return kv8_status{KV8_OK};
    });
}

kv8_status device_count(int32_t* count) {
    return on_driver([&] { *count = driver->device_count(); });
}

kv8_status device_open(const kv8_device_options* options, kv8_impl_device** out) {
    return on_driver([&] {
        Captures::require_none_of_this_thread("kv8_device_open");
        *out = new kv8_impl_device(driver->open(options->ordinal, options->blas_library), options->ordinal);
    });
}

// What a closing frees would end this thread's capture on another device. Of another thread the driver bears it, and the handle
// is gone by now: too late to refuse.
kv8_status device_close(kv8_impl_device* device) {
    if (Captures::any_of_this_thread())
        std::thread([device] { delete device; }).join();
    else
        delete device;
    return KV8_OK;
}

kv8_status device_info(kv8_impl_device* device, kv8_device_info* info) {
    return on_device(device, [&] {
        const DeviceTraits& traits = device->traits();
        kv8_device_info told{};
        told.struct_size = sizeof(told);
        told.ordinal = device->ordinal();
        std::snprintf(told.name, sizeof(told.name), "%s", traits.name.c_str());
        std::snprintf(told.arch, sizeof(told.arch), "%s", traits.arch.c_str());
        std::snprintf(told.driver, sizeof(told.driver), "%s", traits.driver.c_str());
        told.memory_bytes = traits.memory_bytes;
        told.memory_free = device->driver().free_memory();
        told.allocated_bytes = device->allocations().allocated_bytes();
        for (int dtype = KV8_F32; dtype <= KV8_E5M2FNUZ; dtype++) told.dtypes |= 1u << dtype;
        told.native_fp8 = native_fp8(traits.arch);
        told.host_accessible = traits.host_accessible;
        told.captures_graphs = 1;
        *info = told;
    });
}

// ---- streams

kv8_status stream_create(kv8_impl_device* device, kv8_impl_stream** out) {
    return on_device(device, [&] {
        device->captures().require_none_of_this_thread("kv8_stream_create");
        auto stream = std::make_unique<kv8_impl_stream>();
        stream->native = device->driver().create_stream();
        stream->owned = true;
        *out = stream.release();
    });
}

kv8_status stream_wrap(kv8_impl_device* device, uint64_t native, kv8_impl_stream** out) {
    return on_device(device, [&] {
        device->driver().is_capturing(native);  // the driver refuses what is no stream, if not every other device's
        *out = new kv8_impl_stream{native, false};
    });
}

kv8_status stream_sync(kv8_impl_device* device, kv8_impl_stream* stream) {
    return on_device(device, [&] { device->synchronize(native(stream)); });
}

// The dispatcher has forgotten the handle: the stream goes, whatever state the device is in.
kv8_status stream_destroy(kv8_impl_device* device, kv8_impl_stream* stream) {
    const std::unique_ptr<kv8_impl_stream> gone(stream);
    device->captures().forget(stream->native);
    if (!stream->owned) return KV8_OK;
    return guarded(fail, [&] {
        try {
            device->driver().destroy_stream(stream->native);
        } catch (const DeviceLost& lost) {
            device->lose(lost.text);
        }
        device->require_present();
        return kv8_status{KV8_OK};
    });
}

// ---- memory

kv8_status alloc(kv8_impl_device* device, uint64_t bytes, int32_t kind, uint64_t* out) {
    return on_device(device, [&] {
        device->captures().require_none_of_this_thread("kv8_alloc");
        device->removals().try_all();
        *out = device->allocations().allocate(bytes, kind);
    });
}

kv8_status release(kv8_impl_device* device, uint64_t ptr) {
    return on_device(device, [&] {
        device->captures().require_none_of_this_thread("kv8_free");
        device->release(ptr);
    });
}

kv8_status copy(kv8_impl_device* device, kv8_impl_stream* stream, kv8_span dst, kv8_span src) {
    return on_device(device, [&] {
        DriverDevice& on = device->driver();
        const bool to_pageable = on.place_of(dst.ptr) == Place::kPageable;
        const bool waits = to_pageable || on.place_of(src.ptr) == Place::kPageable;
        if (waits && on.is_capturing(native(stream)))
            refuse(KV8_INVALID_ARGUMENT,
                   "The stream is being captured into a graph, which cannot copy from or to pageable host memory; use "
                   "memory of kv8_alloc with KV8_MEMORY_HOST.");
        if (waits) device->captures().require_none_of_this_thread("a copy from or to pageable host memory");
        on.copy(dst.ptr, src.ptr, src.bytes, native(stream));
        if (to_pageable)
            device->synchronize(native(stream));
        else if (waits)
            on.synchronize(native(stream));
    });
}

kv8_status fill(kv8_impl_device* device, kv8_impl_stream* stream, kv8_span dst, uint8_t value) {
    return on_device(device, [&] { device->driver().fill(dst.ptr, value, dst.bytes, native(stream)); });
}

// ---- graphs

kv8_status graph_begin(kv8_impl_device* device, kv8_impl_stream* stream) {
    return on_device(device, [&] { device->captures().begin(native(stream)); });
}

kv8_status graph_end(kv8_impl_device* device, kv8_impl_stream* stream, kv8_impl_graph** out) {
    return on_device(device, [&] {
        auto graph = std::make_unique<kv8_impl_graph>();
        graph->native = device->captures().end(native(stream));
        *out = graph.release();
        quietly([&] { device->removals().try_all(); });  // what fails here fails the next call too
    });
}

kv8_status graph_launch(kv8_impl_device* device, kv8_impl_stream* stream, kv8_impl_graph* graph) {
    return on_device(device, [&] {
        DriverDevice& on = device->driver();
        if (on.is_capturing(native(stream)))
            refuse(KV8_INVALID_ARGUMENT,
                   "The stream is being captured into a graph, which cannot hold another graph; make the calls "
                   "themselves.");
        on.launch_graph(graph->native, native(stream));
    });
}

// The dispatcher has forgotten this handle too.
kv8_status graph_destroy(kv8_impl_device* device, kv8_impl_graph* graph) {
    const std::unique_ptr<kv8_impl_graph> gone(graph);
    return guarded(fail, [&] {
        try {
            device->removals().add([&on = device->driver(), gone = graph->native] { on.destroy_graph(gone); });
        } catch (const DeviceLost& lost) {
            device->lose(lost.text);
        }
        device->require_present();
        return kv8_status{KV8_OK};
    });
}

// ---- kernels

void matmul(Device& device, Stream stream, const kv8_matmul_args& args) {
    if (args.weights_dtype != args.x.dtype)
        refuse(KV8_UNSUPPORTED, "weights_dtype is %d; a GPU's products have weights of x's type, %d.",
               args.weights_dtype, args.x.dtype);
    if (args.sum_length != 0)
        refuse(KV8_UNSUPPORTED, "sum_length is %d; a GPU's library chooses the order of its sums, so give 0.",
               args.sum_length);
    device.driver().multiply(args, stream);
}

template <class Args, void (*Call)(Device&, Stream, Args&)>
kv8_status on_stream(kv8_impl_device* device, kv8_impl_stream* stream, Args* args) {
    return on_device(device, [&] { Call(*device, native(stream), *args); });
}

}  // namespace

const kv8_backend_table* backend_table(Driver& chosen, kv8_fail report) {
    driver = &chosen;
    fail = report;
    static const kv8_backend_table table{
        KV8_ABI_VERSION,
        sizeof(kv8_backend_table),
        chosen.name(),
        device_count,
        device_open,
        device_close,
        device_info,
        stream_create,
        stream_wrap,
        stream_sync,
        stream_destroy,
        alloc,
        release,
        copy,
        fill,
        graph_begin,
        graph_end,
        graph_launch,
        graph_destroy,
        on_stream<const kv8_cast_args, cast>,
        on_stream<const kv8_amax_args, amax>,
        on_stream<const kv8_write_args, write>,
        on_stream<const kv8_gather_args, gather>,
        on_stream<const kv8_move_blocks_args, move_blocks>,
        on_stream<kv8_attention_plan_args, plan_attention>,
        on_stream<const kv8_attention_args, attention>,
        on_stream<const kv8_merge_states_args, merge_states>,
        on_stream<const kv8_matmul_args, matmul>,
        on_stream<const kv8_rms_norm_args, rms_norm>,
        on_stream<const kv8_rope_args, rope>,
        on_stream<const kv8_gate_mul_args, gate_mul>,
        on_stream<const kv8_softcap_args, softcap>,
        on_stream<const kv8_embedding_args, embedding>,
        on_stream<const kv8_sample_args, sample>,
    };
    return &table;
}

}  // namespace kv8::gpu
