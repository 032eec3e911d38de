/*
 * What a backend gives the dispatcher: one table of functions behind one exported symbol.
 *
 * The dispatcher has checked every argument's shape, dtype and extent before it calls a table's kernel; a backend checks
 * what only it can see (values in its own memory, device errors). Functions report failure by a status and a message
 * through `fail`, which the dispatcher keeps for kv8_last_error().
 */
#ifndef KV8_PLUGIN_H
#define KV8_PLUGIN_H

#include "kv8/kv8.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Stores a message for the calling thread and returns the status given to it. */
typedef kv8_status (*kv8_fail)(kv8_status status, const char* message);

/* A backend's own device, stream and graph; the dispatcher's handles wrap them. */
typedef struct kv8_impl_device kv8_impl_device;
typedef struct kv8_impl_stream kv8_impl_stream;
typedef struct kv8_impl_graph kv8_impl_graph;

typedef struct kv8_backend_table {
    uint32_t abi_version; /* KV8_ABI_VERSION, read before anything else */
    uint32_t struct_size;
    const char* name; /* "cpu", "cuda", "rocm" */

    kv8_status (*device_count)(int32_t* count);
    kv8_status (*device_open)(const kv8_device_options* options, kv8_impl_device** out);
    kv8_status (*device_close)(kv8_impl_device*);
    kv8_status (*device_info)(kv8_impl_device*, kv8_device_info*);

    kv8_status (*stream_create)(kv8_impl_device*, kv8_impl_stream** out);
    kv8_status (*stream_wrap)(kv8_impl_device*, uint64_t native, kv8_impl_stream** out);
    kv8_status (*stream_sync)(kv8_impl_device*, kv8_impl_stream*);
    kv8_status (*stream_destroy)(kv8_impl_device*, kv8_impl_stream*);

    kv8_status (*alloc)(kv8_impl_device*, uint64_t bytes, int32_t kind, uint64_t* out);
    kv8_status (*free)(kv8_impl_device*, uint64_t ptr);
    kv8_status (*copy)(kv8_impl_device*, kv8_impl_stream*, kv8_span dst, kv8_span src);
    kv8_status (*fill)(kv8_impl_device*, kv8_impl_stream*, kv8_span dst, uint8_t value);

    kv8_status (*graph_begin)(kv8_impl_device*, kv8_impl_stream*);
    kv8_status (*graph_end)(kv8_impl_device*, kv8_impl_stream*, kv8_impl_graph** out);
    kv8_status (*graph_launch)(kv8_impl_device*, kv8_impl_stream*, kv8_impl_graph*);
    kv8_status (*graph_destroy)(kv8_impl_device*, kv8_impl_graph*);

    kv8_status (*cast)(kv8_impl_device*, kv8_impl_stream*, const kv8_cast_args*);
    kv8_status (*amax)(kv8_impl_device*, kv8_impl_stream*, const kv8_amax_args*);
    kv8_status (*write)(kv8_impl_device*, kv8_impl_stream*, const kv8_write_args*);
    kv8_status (*gather)(kv8_impl_device*, kv8_impl_stream*, const kv8_gather_args*);
    kv8_status (*move_blocks)(kv8_impl_device*, kv8_impl_stream*, const kv8_move_blocks_args*);
    kv8_status (*attention_plan)(kv8_impl_device*, kv8_impl_stream*, kv8_attention_plan_args*);
    kv8_status (*attention)(kv8_impl_device*, kv8_impl_stream*, const kv8_attention_args*);
    kv8_status (*merge_states)(kv8_impl_device*, kv8_impl_stream*, const kv8_merge_states_args*);
    kv8_status (*matmul)(kv8_impl_device*, kv8_impl_stream*, const kv8_matmul_args*);
    kv8_status (*rms_norm)(kv8_impl_device*, kv8_impl_stream*, const kv8_rms_norm_args*);
    kv8_status (*rope)(kv8_impl_device*, kv8_impl_stream*, const kv8_rope_args*);
    kv8_status (*gate_mul)(kv8_impl_device*, kv8_impl_stream*, const kv8_gate_mul_args*);
    kv8_status (*softcap)(kv8_impl_device*, kv8_impl_stream*, const kv8_softcap_args*);
    kv8_status (*embedding)(kv8_impl_device*, kv8_impl_stream*, const kv8_embedding_args*);
    kv8_status (*sample)(kv8_impl_device*, kv8_impl_stream*, const kv8_sample_args*);
} kv8_backend_table;

/* The one symbol of a plug-in: returns its table, which lives as long as the library. `fail` may be kept. */
#define KV8_PLUGIN_ENTRY "kv8_plugin_v1"
typedef const kv8_backend_table* (*kv8_plugin_entry)(kv8_fail fail);

#ifdef __cplusplus
}
#endif

#endif
