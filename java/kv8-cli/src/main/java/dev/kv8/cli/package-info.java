/** The {@code kv8} command: a user's way to every public door of kv8. It uses public API only. */
@NullMarked
package dev.kv8.cli;

import org.jspecify.annotations.NullMarked;
