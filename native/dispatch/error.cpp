// The message of a thread's last failure lives in a plain thread-local array: keeping it allocates nothing and needs no
// destructor when a thread ends.
#include "dispatch/error.h"

#include <cstdarg>
#include <cstdio>

namespace kv8 {

void refuse(kv8_status status, const char* format, ...) {
    Refusal refusal;
    refusal.status = status;
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(refusal.message, sizeof(refusal.message), format, arguments);
    va_end(arguments);
    throw refusal;
}

namespace dispatch {
namespace {

thread_local char message_of_thread[Refusal::kMaxMessage] = "";

}  // namespace

kv8_status remember_failure(kv8_status status, const char* message) noexcept {
    std::snprintf(message_of_thread, sizeof(message_of_thread), "%s", message == nullptr ? "" : message);
    return status;
}

const char* last_failure() noexcept { return message_of_thread; }

}  // namespace dispatch
}  // namespace kv8
