/** Meters of kv8's cache: {@link dev.kv8.micrometer.KvCacheMetrics} is the door. */
@NullMarked
package dev.kv8.micrometer;

import org.jspecify.annotations.NullMarked;
