package dev.kv8;

/** Makes backends; found by {@link java.util.ServiceLoader}. kv8-native provides {@code cpu}, {@code cuda} and {@code rocm}. */
public interface KvBackendProvider {
    /**
     * Opens a backend.
     *
     * @param name "auto" or a backend's name
     * @throws BackendUnavailableException when that backend can't work here, saying what is missing and what brings it
     * @throws IllegalArgumentException when no backend has that name
     */
    KvBackend open(String name);
}
