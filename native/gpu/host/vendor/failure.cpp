#include "gpu/host/vendor/failure.h"

#include "dispatch/error.h"
#include "gpu/host/driver.h"

namespace kv8::gpu {
namespace {

// From then on every call of the process's context fails likewise.
bool ends_the_device(int code) {
    switch (code) {
        case 4:    // deinitialized
        case 46:   // device unavailable
        case 53:   // HIP: prior launch failure
        case 214:  // uncorrectable ECC error
        case 220:  // uncorrectable NVLink error
        case 226:  // contained hardware error
        case 700:  // illegal address
        case 702:  // launch timed out
        case 709:  // context is destroyed
        case 710:  // device-side assert
        case 714:  // hardware stack error
        case 715:  // illegal instruction
        case 716:  // misaligned address
        case 717:  // invalid address space
        case 718:  // invalid program counter
        case 719:  // launch failed
        case 721:  // tensor memory leak
        case 810:  // MPS client terminated
            return true;
        default:
            return false;
    }
}

kv8_status status_of(int code) {
    switch (code) {
        case 2:     // out of memory
        case 1052:  // HIP: the runtime's own memory call failed
            return KV8_OUT_OF_MEMORY;
        case 200:  // invalid image
        case 209:  // no binary for this GPU
        case 218:  // invalid PTX
        case 221:  // no JIT compiler
        case 222:  // PTX is newer than the driver
        case 223:  // JIT compilation is disabled
        case 801:  // not supported
            return KV8_UNSUPPORTED;
        default:
            // 900 to 908 concern stream capture: the caller asked for what a graph cannot hold.
            return code >= 900 && code <= 908 ? KV8_INVALID_ARGUMENT : KV8_DEVICE_ERROR;
    }
}

}  // namespace

void refuse_driver_error(int code, const std::string& text) {
    if (ends_the_device(code)) throw DeviceLost{text};
    refuse(status_of(code), "%s", text.c_str());
}

}  // namespace kv8::gpu
