/** Benchmarks of what the cache manager is made of; in its package, because they time what is behind its door. */
@org.jspecify.annotations.NullMarked
package dev.kv8;
