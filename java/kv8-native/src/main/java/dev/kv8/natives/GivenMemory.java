package dev.kv8.natives;

import dev.kv8.DeviceMemory;
import dev.kv8.natives.abi.kv8_cache_view;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * The door by which addresses of memory and views get into native arguments, so that none that a captured call is given goes by
 * unseen: a graph uses them in every launch. Guarded by their backend.
 */
final class GivenMemory {
    /** What has passed since {@link #note}; null while nothing is captured. */
    private @Nullable Set<DeviceMemory> memories;

    private @Nullable Set<NativeCacheView> views;

    /** The first byte's address. */
    long address(DeviceMemory memory) {
        long address = memory.address();
        if (memories != null) {
            memories.add(memory);
        }
        return address;
    }

    kv8_cache_view struct(NativeCacheView view) {
        kv8_cache_view struct = view.struct();
        if (views != null) {
            views.add(view);
        }
        return struct;
    }

    boolean isNoting() {
        return memories != null;
    }

    /** Notes what passes from now on, until {@link #noted}. */
    void note() {
        memories = Collections.newSetFromMap(new IdentityHashMap<>());
        views = Collections.newSetFromMap(new IdentityHashMap<>());
    }

    /** What has passed since {@link #note}, of which nothing is noted any more. */
    Noted noted() {
        Set<DeviceMemory> passed = memories;
        Set<NativeCacheView> seen = views;
        memories = null;
        views = null;
        if (passed == null || seen == null) {
            throw new IllegalStateException("Nothing is being noted.");
        }
        return new Noted(Set.copyOf(passed), Set.copyOf(seen));
    }

    /** Memory and views that native code goes on using. */
    record Noted(Set<DeviceMemory> memories, Set<NativeCacheView> views) {
        boolean isOpen() {
            for (DeviceMemory memory : memories) {
                if (memory.isClosed()) {
                    return false;
                }
            }
            for (NativeCacheView view : views) {
                if (!view.isUsable()) {
                    return false;
                }
            }
            return true;
        }
    }
}
