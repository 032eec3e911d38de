package dev.kv8;

import java.util.Arrays;
import java.util.Locale;
import java.util.function.IntToLongFunction;
import java.util.stream.Collectors;

/** Which of the blocks that no sequence holds makes room when a cache is full. */
public enum EvictionPolicyKind {
    /** The one unused for longest. */
    LRU("lru") {
        @Override
        EvictionPolicy create(int blocks, IntToLongFunction fingerprints) {
            return new LruPolicy(blocks);
        }
    },
    /** Adapts between the one unused for longest and the one used only once, by what it evicted too early. */
    ARC("arc") {
        @Override
        EvictionPolicy create(int blocks, IntToLongFunction fingerprints) {
            return new ArcPolicy(blocks, fingerprints);
        }
    };

    /** What a cache takes unless told otherwise. */
    public static final EvictionPolicyKind DEFAULT = ARC;

    private final String label;

    EvictionPolicyKind(String label) {
        this.label = label;
    }

    /**
     * Reads a name in any case.
     *
     * @throws IllegalArgumentException naming the allowed ones
     */
    public static EvictionPolicyKind parse(String name) {
        String wanted = name.strip().toLowerCase(Locale.ROOT);
        for (EvictionPolicyKind kind : values()) {
            if (kind.label.equals(wanted)) {
                return kind;
            }
        }
        String allowed = Arrays.stream(values()).map(EvictionPolicyKind::label).collect(Collectors.joining(", "));
        throw new IllegalArgumentException(
                "\"" + name + "\" is not an eviction policy; the allowed ones are " + allowed + ".");
    }

    /** The lower-case name that {@link #parse} takes. */
    public String label() {
        return label;
    }

    /**
     * A policy over the blocks 0 to {@code blocks} - 1, none of them cached yet.
     *
     * @param fingerprints of a cached block 64 bits of its key's digest. They only find keys evicted before; two keys that share them
     *     cost a wrong guess about what to keep, never wrong data
     */
    abstract EvictionPolicy create(int blocks, IntToLongFunction fingerprints);

    @Override
    public String toString() {
        return label;
    }
}
