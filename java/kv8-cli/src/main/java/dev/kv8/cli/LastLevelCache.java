package dev.kv8.cli;

import dev.kv8.DeviceInfo;
import java.io.IOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;

/**
 * What a processor keeps of memory, and so how much a benchmark has to go through to meet none of it. Decision: the caches of the
 * last level are counted together, as threads on all cores find their part of the data again in each of them.
 *
 * @param bytes of them all; 0 where nobody says
 */
record LastLevelCache(long bytes) {
    private static final Path PROCESSORS = Path.of("/sys/devices/system/cpu");

    /** Least recently used data is gone after one time the cache's size; policies differ, and other data is there too. */
    private static final int TIMES = 4;

    /** More than GPUs keep, and what else says nothing of its caches. */
    private static final long UNKNOWN_COLD_BYTES = 128L << 20;

    /** Of the device; a GPU does not say. */
    static LastLevelCache of(DeviceInfo device) {
        return device.backend().equals("cpu") ? read(PROCESSORS) : new LastLevelCache(0);
    }

    /** From Linux's folder of processors. */
    static LastLevelCache read(Path processors) {
        Map<String, Long> sizes = new HashMap<>(); // by the processors that share it
        int last = 0;
        try (DirectoryStream<Path> all = Files.newDirectoryStream(processors, "cpu[0-9]*")) {
            for (Path processor : all) {
                Path caches = processor.resolve("cache");
                if (!Files.isDirectory(caches)) { // one that is offline
                    continue;
                }
                try (DirectoryStream<Path> ofProcessor = Files.newDirectoryStream(caches, "index[0-9]*")) {
                    for (Path cache : ofProcessor) {
                        int level = Integer.parseInt(line(cache.resolve("level")));
                        if (level > last) {
                            last = level;
                            sizes.clear();
                        }
                        if (level == last) {
                            sizes.put(line(cache.resolve("shared_cpu_list")), bytes(line(cache.resolve("size"))));
                        }
                    }
                }
            }
        } catch (IOException | NumberFormatException e) {
            return new LastLevelCache(0);
        }
        return new LastLevelCache(
                sizes.values().stream().mapToLong(Long::longValue).sum());
    }

    private static String line(Path file) throws IOException {
        return Files.readString(file).strip();
    }

    /** Such as 32768K. */
    private static long bytes(String size) {
        int digits = size.length() - 1;
        return switch (size.charAt(digits)) {
            case 'K' -> Long.parseLong(size.substring(0, digits)) << 10;
            case 'M' -> Long.parseLong(size.substring(0, digits)) << 20;
            default -> Long.parseLong(size);
        };
    }

    /** A pass over so much memory finds nothing of the pass before in a cache. */
    long coldBytes() {
        return bytes == 0 ? UNKNOWN_COLD_BYTES : TIMES * bytes;
    }
}
