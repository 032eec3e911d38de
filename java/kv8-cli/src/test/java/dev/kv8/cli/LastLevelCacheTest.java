package dev.kv8.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class LastLevelCacheTest {
    @TempDir
    Path processors;

    private void cache(int processor, int index, int level, String size, String shared) throws IOException {
        Path folder = Files.createDirectories(processors.resolve("cpu" + processor + "/cache/index" + index));
        Files.writeString(folder.resolve("level"), level + "\n");
        Files.writeString(folder.resolve("size"), size + "\n");
        Files.writeString(folder.resolve("shared_cpu_list"), shared + "\n");
    }

    @Test
    void theCachesOfTheLastLevelCountOnceEach() throws IOException {
        for (int processor = 0; processor < 4; processor++) {
            cache(processor, 0, 1, "32K", "" + processor);
            cache(processor, 2, 2, "512K", "" + processor);
            cache(processor, 3, 3, "32768K", processor < 2 ? "0-1" : "2-3");
        }
        Files.createDirectories(processors.resolve("cpu4")); // offline
        Files.createDirectories(processors.resolve("cpufreq"));
        LastLevelCache cache = LastLevelCache.read(processors);
        assertThat(cache.bytes()).isEqualTo(64L << 20);
        assertThat(cache.coldBytes()).isEqualTo(256L << 20);
    }

    @Test
    void whereNobodySaysMuchIsTakenAsCold() throws IOException {
        assertThat(LastLevelCache.read(processors.resolve("none")).bytes()).isZero();
        cache(0, 0, 1, "some", "0");
        assertThat(LastLevelCache.read(processors).bytes()).isZero();
        assertThat(LastLevelCache.read(processors).coldBytes()).isEqualTo(128L << 20);
    }
}
