package dev.kv8;

import java.util.Locale;
import java.util.ServiceLoader;

/** Finds the provider of backends on the class path and which backend the user asked for. */
final class BackendProviders {
    private BackendProviders() {}

    static String requestedName() {
        String property = System.getProperty("kv.backend");
        if (property != null && !property.isBlank()) {
            return property.strip().toLowerCase(Locale.ROOT);
        }
        String variable = System.getenv("KV8_BACKEND");
        return variable == null || variable.isBlank()
                ? "auto"
                : variable.strip().toLowerCase(Locale.ROOT);
    }

    static KvBackend open(String name) {
        KvBackendProvider provider = ServiceLoader.load(KvBackendProvider.class)
                .findFirst()
                .or(() -> ServiceLoader.load(KvBackendProvider.class, KvBackend.class.getClassLoader())
                        .findFirst())
                .orElseThrow(() -> new BackendUnavailableException(
                        "No kv8 backend is on the class path. Add the dependency dev.kv8:kv8-native and its"
                                + " linux-x86_64 classifier jar."));
        return provider.open(name);
    }
}
