package dev.kv8.natives;

import dev.kv8.BackendUnavailableException;
import java.util.ArrayList;
import java.util.List;

/** {@code auto}: the first backend that opens, has a device and computes one block right; and why not the others. */
final class BackendChoice {
    private static final System.Logger LOG = System.getLogger("dev.kv8");

    private BackendChoice() {}

    static NativeBackend first(BackendOpener opener) {
        NativeBridge.require();
        List<String> refused = new ArrayList<>();
        for (String name : BackendOpener.NAMES) {
            try {
                NativeBackend backend = opener.open(name);
                LOG.log(System.Logger.Level.INFO, () -> describe(backend, refused));
                return backend;
            } catch (BackendUnavailableException e) {
                refused.add(name + ": " + firstStatement(String.valueOf(e.getMessage())));
            }
        }
        throw new BackendUnavailableException(
                "No backend works here. " + String.join("; ", refused) + ". `kv8 doctor` shows all that was tried.");
    }

    private static String describe(NativeBackend backend, List<String> refused) {
        var device = backend.info();
        return "kv8 uses the " + device.backend() + " backend: " + device.name() + ", " + device.arch()
                + (device.threads() > 0 ? ", " + device.threads() + " threads" : "") + ". Not used: "
                + (refused.isEmpty() ? "none tried before it" : String.join("; ", refused)) + ".";
    }

    private static String firstStatement(String message) {
        int end = message.indexOf(". ");
        String sentence = end < 0 ? message : message.substring(0, end);
        return sentence.endsWith(".") ? sentence.substring(0, sentence.length() - 1) : sentence;
    }
}
