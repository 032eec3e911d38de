// How a call fails: inside the library a Refusal is thrown, at the C door `guarded` turns it, and any other exception, into
// a status and a message. So a check is one line, and nothing escapes into C.
#pragma once

#include <exception>
#include <new>

#include "kv8/kv8_plugin.h"

namespace kv8 {

class Refusal final : public std::exception {
  public:
    static constexpr int kMaxMessage = 1024;

    kv8_status status;
    char message[kMaxMessage];

    const char* what() const noexcept override { return message; }
};

// Throws a Refusal; the message names what was given and what is allowed.
[[noreturn]] void refuse(kv8_status status, const char* format, ...) __attribute__((format(printf, 2, 3)));

// Runs `body`; reports what it throws through `fail`.
template <class Body>
kv8_status guarded(kv8_fail fail, const Body& body) noexcept {
    try {
        return body();
    } catch (const Refusal& refusal) {
        return fail(refusal.status, refusal.message);
    } catch (const std::bad_alloc&) {
        return fail(KV8_OUT_OF_MEMORY, "There is not enough host memory for this call.");
    } catch (const std::exception& error) {
        return fail(KV8_INTERNAL_ERROR, error.what());
    } catch (...) {
        return fail(KV8_INTERNAL_ERROR, "An unknown exception was thrown inside kv8.");
    }
}

namespace dispatch {

// Keeps the message for kv8_last_error() of the calling thread; the `fail` that every backend is given.
kv8_status remember_failure(kv8_status status, const char* message) noexcept;

const char* last_failure() noexcept;

}  // namespace dispatch
}  // namespace kv8
