package dev.kv8.natives;

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
        File library = extract(url);
        kv8_backend backend = new kv8_backend();
        if (kv8.kv8_backend_load(library.getPath(), backend) != KV8_OK) {
            String linkerText = Status.lastError();
            throw new BackendUnavailableException("The " + name + " backend's library cannot be used. "
                    + LoadFailure.describe(
                            linkerText,
                            Host.libc(),
                            CacheDirectory.problem(library.getParentFile().toPath())));
        }
        return backend;
    }

    private static File extract(URL url) {
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
