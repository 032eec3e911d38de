package dev.kv8.llm;

import dev.kv8.KvBackend;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/** The backend that a caller gave, which stays the caller's, or one that is opened for the work and closed after it. */
final class GivenBackend {
    private GivenBackend() {}

    static <T> T use(@Nullable KvBackend given, Function<KvBackend, T> work) {
        if (given != null) {
            return work.apply(given);
        }
        try (KvBackend own = KvBackend.open()) {
            return work.apply(own);
        }
    }
}
