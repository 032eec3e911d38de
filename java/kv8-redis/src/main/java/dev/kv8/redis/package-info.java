/** The shared tier of kv8's cache on Valkey or Redis: {@link dev.kv8.redis.RedisBlockStore} is the door. */
@NullMarked
package dev.kv8.redis;

import org.jspecify.annotations.NullMarked;
