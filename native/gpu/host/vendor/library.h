// A vendor's library, opened at run time: kv8 links against none of them. Once open it stays in the process, for what it has
// started may outlast its last handle.
#pragma once

#include <string>
#include <vector>

namespace kv8::gpu {

// One of its functions; all return the vendor's error code, 0 for success.
template <class... Parameters>
struct Call {
    const char* name = nullptr;  // in the library, and in messages
    int (*function)(Parameters...) = nullptr;
};

class Library {
  public:
    // Opens the first that can be opened, or in their place what `chosen` or else the environment names. Throws
    // KV8_LIBRARY_MISSING with each one's reason and the cure. `what` is said before the name: "The driver library".
    Library(const char* what, const char* chosen, const char* override_variable, const std::vector<std::string>& names,
            const char* cure);
    ~Library();
    Library(const Library&) = delete;
    Library& operator=(const Library&) = delete;

    template <class... Parameters>
    void resolve(Call<Parameters...>& call, const char* name) const {
        call.name = name;
        call.function = reinterpret_cast<int (*)(Parameters...)>(symbol(name));
    }

    bool has(const char* name) const;
    void* symbol(const char* name) const;  // throws KV8_LIBRARY_MISSING
    const std::string& name() const { return name_; }

  private:
    void* handle_ = nullptr;
    std::string name_;
    const char* const what_;
    const char* const cure_;
};

}  // namespace kv8::gpu
