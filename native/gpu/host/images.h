// The compiled kernels inside a plug-in. The build generates the table: CUDA has one fatbin per module, which holds
// every architecture and PTX; HIP has one code object per module and architecture.
#pragma once

namespace kv8::gpu {

struct EmbeddedImage {
    const char* module;  // the kernel file's name, as cast or attention_d128
    const char* arch;    // gfx942; CUDA: ""
    const void* begin;
    const void* end;
};

struct Images {
    const EmbeddedImage* begin;
    const EmbeddedImage* end;
    const char* architectures;  // for messages: "sm_80, sm_86, sm_89, sm_90, sm_100, sm_120, and newer ones by PTX"
};

Images images();

}  // namespace kv8::gpu
