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
        return writeFile(
                directory,
                jar,
                "dev/kv8/natives/" + Plugin.classifier(backend) + "/libkv8_" + backend + ".so",
                library);
    }

    private static Path writeFile(Path directory, String jar, String resource, byte[] content) throws IOException {
        Path path = directory.resolve(jar + ".jar");
        try (JarOutputStream out = new JarOutputStream(Files.newOutputStream(path))) {
            out.putNextEntry(new JarEntry(resource));
            out.write(content);
            out.closeEntry();
        }
        return path;
    }

    /** A jar with a file where JavaCPP's presets for CUDA have the toolkit's libraries. */
    static Path writeRedist(Path directory, String jar, String library) throws IOException {
        return writeFile(directory, jar, "org/bytedeco/cuda/" + Host.platform() + "/" + library, new byte[] {1, 2, 3});
    }

    static ClassLoader loader(Path... jars) throws IOException {
        URL[] urls = new URL[jars.length];
        for (int i = 0; i < jars.length; i++) {
            urls[i] = jars[i].toUri().toURL();
        }
        return new URLClassLoader(urls, null);
    }
}
