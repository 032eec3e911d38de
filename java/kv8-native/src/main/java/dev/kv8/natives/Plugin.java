package dev.kv8.natives;

import static dev.kv8.natives.abi.kv8.KV8_ABI_MISMATCH;
import static dev.kv8.natives.abi.kv8.KV8_OK;

import dev.kv8.BackendUnavailableException;
import dev.kv8.natives.abi.kv8;
import dev.kv8.natives.abi.kv8_backend;
import java.io.File;
import java.io.IOException;
import java.net.URL;
import org.bytedeco.javacpp.Loader;

/** A GPU backend's library: found in a classifier jar of its own, extracted by JavaCPP, opened by the dispatcher. */
final class Plugin {
    private Plugin() {}

    static String classifier(String name) {
        return Host.platform() + "-" + name;
    }

    /**
     * Opens the plug-in {@code name} among the resources of {@code loader}. A class loader and not this class is asked, so
     * that a plug-in in a module of its own is found too.
     */
    static kv8_backend load(String name, ClassLoader loader) {
        String resource = "dev/kv8/natives/" + classifier(name) + "/libkv8_" + name + ".so";
        URL url = loader.getResource(resource);
        if (url == null) {
            throw new BackendUnavailableException(
                    "The " + name + " backend's jar " + Artifacts.coordinates(classifier(name))
                            + " is not on the class path. Add\n" + Artifacts.snippet(classifier(name))
                            + "\nor use -Dkv.backend=cpu, which works now.");
        }
        return open(name, extract(url));
    }

    /** Opens the library of backend {@code name}. */
    static kv8_backend open(String name, File library) {
        kv8_backend backend = new kv8_backend();
        int status = kv8.kv8_backend_load(library.getPath(), backend);
        if (status != KV8_OK) {
            throw new BackendUnavailableException(refusal(name, library, status, Status.lastError()));
        }
        return backend;
    }

    private static String refusal(String name, File library, int status, String message) {
        if (status == KV8_ABI_MISMATCH) {
            return "The " + name + " backend is of another version: " + message + " Use "
                    + Artifacts.coordinates(classifier(name)) + ".";
        }
        String noDriver = "The plug-in " + library.getPath() + " cannot work here: ";
        if (message.startsWith(noDriver)) {
            // The plug-in's own words, which say what brings it.
            return "The " + name + " backend finds no driver: " + message.substring(noDriver.length())
                    + " -Dkv.backend=cpu works now.";
        }
        return LoadFailure.linkerCause(
                        message,
                        Host.libc(),
                        CacheDirectory.problem(library.getParentFile().toPath()))
                .orElseGet(() -> "The " + name + " backend's library cannot be used: " + message + " If the file "
                        + library + " is damaged, delete it; it is extracted again. -Dkv.backend=cpu works now.");
    }

    /** What a backend needs beside its jar, and how to see whether it is there. */
    static String needs(String name) {
        return switch (name) {
            case "cuda" ->
                "It needs an NVIDIA GPU and its driver, which nvidia-smi shows; a container needs --gpus all."
                        + " -Dkv.backend=cpu works now.";
            case "rocm" ->
                "It needs an AMD GPU, its kernel driver and ROCm's libamdhip64, which rocminfo shows; a"
                        + " container needs --device=/dev/kfd --device=/dev/dri. -Dkv.backend=cpu works now.";
            default -> "-Dkv.backend=cpu works now.";
        };
    }

    /** Puts a resource into JavaCPP's cache. */
    static File extract(URL url) {
        try {
            return Loader.cacheResource(url);
        } catch (IOException e) {
            throw new BackendUnavailableException(
                    url + " cannot be extracted: " + e + ". Set -D" + CacheDirectory.PROPERTY
                            + "=DIR to a directory that can be written to and executed from.",
                    e);
        }
    }
}
