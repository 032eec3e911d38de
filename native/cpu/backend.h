// The CPU backend as the dispatcher sees it: the same table that a plug-in gives.
#pragma once

#include "kv8/kv8_plugin.h"

namespace kv8::cpu {

const kv8_backend_table* backend_table(kv8_fail fail);

}  // namespace kv8::cpu
