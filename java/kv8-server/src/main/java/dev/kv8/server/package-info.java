/** A model behind the HTTP interface that OpenAI's clients speak: {@link dev.kv8.server.LlmServer} is the door. */
@NullMarked
package dev.kv8.server;

import org.jspecify.annotations.NullMarked;
