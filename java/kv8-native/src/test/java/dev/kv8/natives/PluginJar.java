package dev.kv8.natives;

import java.io.IOException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.jar.JarEntry;
import java.util.jar.JarOutputStream;

/** A classifier jar with a GPU plug-in inside, as a user would add it. */
final class PluginJar {
    private PluginJar() {}

    /** The plug-in that the native tests build under {@code name}. */
    static byte[] built(String name) throws IOException {
        return Files.readAllBytes(Path.of(System.getProperty("kv8.native.dist"), "test-plugins", "lib" + name + ".so"));
    }

    /** A jar with a name of its own, because JavaCPP's cache goes by the jar's name. */
    static Path write(Path directory, String jar, String backend, byte[] library) throws IOException {
        Path path = directory.resolve(jar + ".jar");
        try (JarOutputStream out = new JarOutputStream(Files.newOutputStream(path))) {
            out.putNextEntry(
                    new JarEntry("dev/kv8/natives/" + Plugin.classifier(backend) + "/libkv8_" + backend + ".so"));
            out.write(library);
            out.closeEntry();
        }
        return path;
    }

    static ClassLoader loader(Path jar) throws IOException {
        return new URLClassLoader(new URL[] {jar.toUri().toURL()}, null);
    }
}
