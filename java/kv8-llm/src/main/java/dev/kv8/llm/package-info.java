/**
 * Text from a Llama-family checkpoint through kv8's paged cache: {@link dev.kv8.llm.LLM} is the door.
 *
 * <p>The engine is a consumer of {@code dev.kv8}'s public API like any other: it schedules sequences into batches, runs
 * the layers' matrix products with oneDNN on the CPU backend, and everything else with {@link dev.kv8.KvBackend}.
 */
@NullMarked
package dev.kv8.llm;

import org.jspecify.annotations.NullMarked;
