package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledIfSystemProperty;
import org.junit.jupiter.api.io.TempDir;

/** Measurements, not tests: the file tier beside dd on the same disk, and how long a folder of 10,000 blocks takes to open again. */
@EnabledIfSystemProperty(named = "kv8.measure", matches = "true")
class FileSpeedTest {
    private static final int ROUNDS = 5;

    @TempDir
    Path folder;

    @Test
    void measureBesideDd() throws Exception {
        int blocks = 192;
        int group = 4;
        TestFrames frames = new TestFrames((1 << 20) - BlockFrame.HEADER);
        double[][] rates = new double[4][ROUNDS];
        List<ByteBuffer> some = new ArrayList<>();
        for (int i = 0; i < group; i++) {
            some.add(frames.frame(i));
        }
        for (int round = 0; round < ROUNDS; round++) {
            Path here = folder.resolve("store" + round);
            FileBlockStore store = FileBlockStore.open(here, ByteSize.gib(4));
            store.prepare(frames.frameBytes());
            for (boolean write : new boolean[] {true, false}) {
                long start = System.nanoTime();
                for (int i = 0; i < blocks; i += group) {
                    TestFrames.Waiting waiting = new TestFrames.Waiting(group);
                    BlockTransfer transfer =
                            new BlockTransfer(frames.keys(i, i + group), some, TestFrames.soon(), waiting);
                    if (write) {
                        store.store(transfer);
                    } else {
                        store.load(transfer);
                    }
                    assertThat(waiting.await().outcomes).containsOnly(BlockTransfer.Outcome.DONE);
                }
                rates[write ? 0 : 1][round] = (double) blocks * frames.frameBytes() / (System.nanoTime() - start);
            }
            Path file = folder.resolve("dd");
            rates[2][round] = dd("if=/dev/zero", "of=" + file, "bs=1M", "count=" + blocks, "conv=fdatasync");
            rates[3][round] = dd("if=" + file, "of=/dev/null", "bs=1M");
            Files.delete(file);
        }
        StringBuilder line =
                new StringBuilder("GB/s at 1 MiB, best (median) of " + ROUNDS + ": store, load, dd write, dd read:");
        for (double[] rate : rates) {
            Arrays.sort(rate);
            line.append(String.format(Locale.ROOT, "  %.2f (%.2f)", rate[ROUNDS - 1], rate[ROUNDS / 2]));
        }
        System.out.println(line);
    }

    /** GB/s, by the seconds that it prints. */
    private static double dd(String... arguments) throws IOException, InterruptedException {
        List<String> command = new ArrayList<>(List.of("env", "LC_ALL=C", "dd"));
        command.addAll(List.of(arguments));
        Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
        String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        process.waitFor();
        String last = output.strip().substring(output.strip().lastIndexOf('\n') + 1);
        String[] words = last.split("[ ,]+");
        double bytes = Double.parseDouble(words[0]);
        double seconds = Double.parseDouble(words[Arrays.asList(words).indexOf("s") - 1]);
        return bytes / 1e9 / seconds;
    }

    private static final TestFrames SMALL = new TestFrames(8192 - BlockFrame.HEADER);

    @Test
    void measureReopening() throws Exception {
        FileBlockStore store = FileBlockStore.open(folder, ByteSize.gib(4));
        store.prepare(SMALL.frameBytes());
        for (int i = 0; i < 10_000; i++) {
            assertThat(SMALL.store(store, i)).isEqualTo(BlockTransfer.Outcome.DONE);
        }
        for (int round = 0; round < ROUNDS; round++) {
            Process process = new ProcessBuilder(
                            Path.of(System.getProperty("java.home"), "bin", "java")
                                    .toString(),
                            "-cp",
                            System.getProperty("java.class.path"),
                            Reopening.class.getName(),
                            folder.toString())
                    .redirectErrorStream(true)
                    .start();
            System.out.print(new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8));
            assertThat(process.waitFor()).isZero();
        }
    }

    /** Opens the folder three times, first in a JVM that has done nothing else. */
    static final class Reopening {
        public static void main(String[] arguments) throws IOException {
            for (int round = 0; round < 3; round++) {
                long start = System.nanoTime();
                FileBlockStore reopened = FileBlockStore.open(Path.of(arguments[0]), ByteSize.gib(4));
                reopened.prepare(SMALL.frameBytes());
                long millis = (System.nanoTime() - start) / 1_000_000;
                System.out.println(reopened.blocks() + " blocks opened in " + millis + " ms"
                        + (round == 0 ? " by a new JVM" : " once more"));
                if (reopened.lookup(SMALL.keys(0, 10_000), TestFrames.soon()) != 10_000) {
                    System.exit(1);
                }
            }
        }
    }
}
