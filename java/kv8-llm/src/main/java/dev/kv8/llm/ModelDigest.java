package dev.kv8.llm;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.List;
import java.util.stream.Stream;

/**
 * Tells models apart. {@link #of} does so without reading their weights: SHA-256 over the contents of a folder's JSON and Jinja files
 * and over the names and sizes of its safetensors files. {@link #ofWeights} reads them, for what must never be taken for another
 * model's.
 */
final class ModelDigest {
    private static final int READ_BYTES = 1 << 20;

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

    /** SHA-256 over config.json and the digests of all safetensors files, which are read in parallel. */
    static String ofWeights(Path folder) {
        MessageDigest digest = Digests.sha256();
        try (Stream<Path> listed = Files.list(folder)) {
            List<Path> files = listed.filter(Files::isRegularFile)
                    .filter(file -> isWeightsOrConfig(String.valueOf(file.getFileName())))
                    .sorted()
                    .toList();
            files.parallelStream().map(ModelDigest::ofContents).toList().forEach(digest::update);
        } catch (IOException e) {
            throw new CheckpointException(folder + " can't be read: " + e.getMessage(), e);
        }
        return HexFormat.of().formatHex(digest.digest());
    }

    private static boolean isWeightsOrConfig(String name) {
        return name.equals("config.json") || name.endsWith(".safetensors");
    }

    private static byte[] ofContents(Path file) {
        MessageDigest digest = Digests.sha256();
        ByteBuffer part = ByteBuffer.allocateDirect(READ_BYTES);
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
            while (channel.read(part) >= 0) {
                digest.update(part.flip());
                part.clear();
            }
        } catch (IOException e) {
            throw new CheckpointException(file + " can't be read: " + e.getMessage(), e);
        }
        return digest.digest();
    }

    private static void update(MessageDigest digest, String name) {
        digest.update(name.getBytes(StandardCharsets.UTF_8));
        digest.update((byte) 0);
    }
}
