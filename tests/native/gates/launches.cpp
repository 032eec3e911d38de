// What the host side launches kernels with, on every architecture, as figures for the gates: threads and shared memory of a
// block, how much of it a block may have where as many are resident as the kernel says, and the waves that they make on a SIMD;
// of attention, the elements of K and V in a tile that each lane takes in.
#include <cstdio>
#include <initializer_list>

#include "gpu/attention_params.h"
#include "gpu/host/attention_device.h"
#include "gpu/kernel_params.h"

namespace {

using namespace kv8::gpu;

struct Arch {
    const char* name;
    int shared_kib;  // of a multiprocessor: CUDA C++ Programming Guide; AMD's ISA documents, "LDS"
    int lanes;
};
constexpr Arch kArchs[] = {{"sm_80", 164, 32},  {"sm_86", 100, 32},  {"sm_89", 100, 32}, {"sm_90", 228, 32},
                           {"sm_100", 228, 32}, {"sm_120", 100, 32}, {"gfx90a", 64, 64}, {"gfx942", 64, 64},
                           {"gfx950", 160, 64}, {"gfx1100", 64, 32}, {"gfx1201", 64, 32}};
constexpr int kHeadSizes[] = {64, 80, 96, 112, 128, 192, 256};

void print(const Arch& arch, const char* module, const char* kernel, int threads, int resident, int shared_bytes) {
    const bool nvidia = arch.lanes == 32 && arch.name[0] == 's';
    // Of each block, NVIDIA's system takes a kibibyte for itself.
    const int budget = arch.shared_kib * 1024 / resident - (nvidia ? 1024 : 0);
    const int waves = (resident * threads / arch.lanes + 3) / 4;
    const auto figure = [&](const char* name, int value) {
        printf("%s %s %s %s %d\n", module, kernel, arch.name, name, value);
    };
    figure("launched_threads", threads);
    figure("shared_bytes", shared_bytes);
    figure("shared_budget", budget);
    if (!nvidia) figure("resident_waves", waves);
}

template <class Params>
void print(const Arch& arch) {
    print(arch, Params::kModule, Params::kKernel, Params::kThreads, Params::kResident, Params::kSharedBytes);
}

void print_attention(const Arch& arch, int head_size) {
    char module[32], kernel[64];
    snprintf(module, sizeof(module), "attention_d%d", head_size);
    for (const char* format : {"f16", "bf16", "e4m3fn", "e5m2", "e4m3fnuz", "e5m2fnuz"})
        for (int large = 0; large < 2; large++) {
            const AttentionConfig c =
                attention_config(attention_device(arch.name), head_size, format[0] == 'e' ? 1 : 2, large != 0);
            snprintf(kernel, sizeof(kernel), "kv8_attention_%s_%s", format, large ? "large" : "small");
            print(arch, module, kernel, kAttentionWarps * arch.lanes, c.resident, c.shared_bytes());
            printf("%s %s %s tile_elements %d\n", module, kernel, arch.name,
                   2 * c.tile_keys * head_size / (c.token_warps * arch.lanes));
        }
    snprintf(kernel, sizeof(kernel), "kv8_attention_precise_d%d", head_size);
    print(arch, "attention_precise", kernel, kPreciseThreads, 1, precise_shared_bytes(head_size));
}

}  // namespace

int main() {
    for (const Arch& arch : kArchs) {
        print<CastParams>(arch);
        print<AmaxParams>(arch);
        print<WriteParams>(arch);
        print<GatherParams>(arch);
        print<MoveBlocksParams>(arch);
        print<MergeStatesParams>(arch);
        print<RmsNormParams>(arch);
        print<RopeParams>(arch);
        print<GateMulParams>(arch);
        print<SoftcapParams>(arch);
        print<EmbeddingParams>(arch);
        print<SampleParams>(arch);
        for (int head_size : kHeadSizes) print_attention(arch, head_size);
    }
}
