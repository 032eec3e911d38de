/** What kv8's own modules share and users do not need. Not API: everything here may change with any version. */
@NullMarked
package dev.kv8.llm.internal;

import org.jspecify.annotations.NullMarked;
