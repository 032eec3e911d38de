package dev.kv8;

import java.util.stream.IntStream;

/** Token ids for tests that only care which of them are equal. */
final class TokenRange {
    private TokenRange() {}

    /** The ids from first on. */
    static int[] tokens(int first, int count) {
        return IntStream.range(first, first + count).toArray();
    }
}
