#include "gpu/host/vendor/library.h"

#include <dlfcn.h>
#include <stdlib.h>

#include "dispatch/error.h"

namespace kv8::gpu {

Library::Library(const char* what, const char* chosen, const char* override_variable,
                 const std::vector<std::string>& names, const char* cure)
    : what_(what), cure_(cure) {
    if (chosen == nullptr || *chosen == 0) chosen = getenv(override_variable);
    const std::vector<std::string> tried = chosen != nullptr && *chosen != 0 ? std::vector<std::string>{chosen} : names;
    std::string reasons;
    for (const std::string& name : tried) {
        handle_ = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
        if (handle_ != nullptr) {
            name_ = name;
            return;
        }
        const char* reason = dlerror();
        reasons += (reasons.empty() ? "" : "; ") + std::string(reason != nullptr ? reason : name + ": no reason given");
    }
    refuse(KV8_LIBRARY_MISSING, "%s %s cannot be opened (%s). %s", what, tried.front().c_str(), reasons.c_str(), cure);
}

Library::~Library() {
    if (handle_ != nullptr) dlclose(handle_);
}

bool Library::has(const char* name) const { return dlsym(handle_, name) != nullptr; }

void* Library::symbol(const char* name) const {
    void* found = dlsym(handle_, name);
    if (found == nullptr)
        refuse(KV8_LIBRARY_MISSING, "%s %s has no function %s: it is too old, or another one. %s", what_, name_.c_str(),
               name, cure_);
    return found;
}

}  // namespace kv8::gpu
