package dev.kv8.llm;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.List;
import java.util.stream.Stream;

/**
 * Tells models apart without reading their weights: SHA-256 over the contents of a folder's JSON and Jinja files and over the
 * names and sizes of its safetensors files.
 */
final class ModelDigest {
    private ModelDigest() {}

    static String of(Path folder) {
        MessageDigest digest = Digests.sha256();
        try (Stream<Path> listed = Files.list(folder)) {
            List<Path> files = listed.filter(Files::isRegularFile).sorted().toList();
            for (Path file : files) {
                String name = String.valueOf(file.getFileName());
                if (name.endsWith(".json") || name.endsWith(".jinja")) {
                    update(digest, name);
                    digest.update(Files.readAllBytes(file));
                } else if (name.endsWith(".safetensors")) {
                    update(digest, name + " " + Files.size(file));
                }
            }
        } catch (IOException e) {
            throw new CheckpointException(folder + " can't be read: " + e.getMessage(), e);
        }
        return HexFormat.of().formatHex(digest.digest());
    }

    private static void update(MessageDigest digest, String name) {
        digest.update(name.getBytes(StandardCharsets.UTF_8));
        digest.update((byte) 0);
    }
}
