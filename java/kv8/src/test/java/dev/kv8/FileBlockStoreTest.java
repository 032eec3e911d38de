package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.kv8.BlockTransfer.Outcome;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.locks.LockSupport;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class FileBlockStoreTest {
    private static final TestFrames FRAMES = new TestFrames(40_000);
    private static final int[] PROMPT = TieredCache.prompt(1, 41);

    @TempDir
    Path folder;

    private static ByteSize room(int blocks) {
        return ByteSize.of((long) blocks * FRAMES.frameBytes());
    }

    private FileBlockStore open(int blocks) throws IOException {
        FileBlockStore store = FileBlockStore.open(folder, room(blocks));
        store.prepare(FRAMES.frameBytes());
        return store;
    }

    private static List<Path> unfinished(Path folder) throws IOException {
        try (Stream<Path> all = Files.list(folder.resolve("unfinished"))) {
            return all.toList();
        }
    }

    private List<Path> files() throws IOException {
        try (Stream<Path> all = Files.walk(folder)) {
            return all.filter(Files::isRegularFile).sorted().toList();
        }
    }

    @Test
    void aCacheFindsItsBlocksAfterARestart() throws IOException {
        for (int run = 0; run < 2; run++) {
            Tiers tiers = TieredCache.tiers(FileBlockStore.open(folder, ByteSize.mib(1)))
                    .writtenOnFirstUse(true)
                    .build();
            try (TieredCache test = new TieredCache(12, tiers)) {
                assertThat(test.serve(PROMPT)).isEqualTo(run == 0 ? 0 : 40);
                test.settle();
            }
        }
    }

    @Test
    void onlyTheirOwnerMayReadBlocks() throws IOException {
        assumeTrue(folder.getFileSystem().supportedFileAttributeViews().contains("posix"));
        Path tier = folder.resolve("new").resolve("tier");
        try (FileBlockStore store = FileBlockStore.open(tier, room(10))) {
            store.prepare(FRAMES.frameBytes());
            assertThat(FRAMES.store(store, 1)).isEqualTo(Outcome.DONE);
        }
        try (Stream<Path> all = Files.walk(tier)) {
            for (Path path : all.toList()) {
                String permissions = PosixFilePermissions.toString(Files.getPosixFilePermissions(path));
                assertThat(permissions)
                        .as(path.toString())
                        .isEqualTo(Files.isDirectory(path) ? "rwx------" : "rw-------");
            }
        }
        assertThat(files()).hasSize(1);
    }

    @Test
    void whatIsTruncatedAnywhereIsAMissAndGoes() throws IOException {
        FileBlockStore store = open(100);
        assertThat(FRAMES.store(store, 0)).isEqualTo(Outcome.DONE);
        byte[] whole = Files.readAllBytes(files().get(0));
        Path file = files().get(0);
        for (int length = 0; length < whole.length; length += 4096) {
            Files.write(file, Arrays.copyOf(whole, length));
            assertThat(FRAMES.load(store, 0)).as("truncated to %d", length).isFalse();
            FileBlockStore reopened = open(100);
            assertThat(reopened.lookup(List.of(FRAMES.key(0)), TestFrames.soon()))
                    .isZero();
            assertThat(files()).isEmpty();
        }
    }

    @Test
    void aCacheOutlivesTruncatedAndFlippedFiles() throws IOException {
        FileBlockStore store = FileBlockStore.open(folder, ByteSize.mib(4));
        Tiers tiers = TieredCache.tiers(store).writtenOnFirstUse(true).build();
        Random random = new Random(5);
        try (TieredCache writer = new TieredCache(12, tiers)) {
            writer.serve(PROMPT);
            writer.settle();
            for (int round = 0; round < 30; round++) {
                Path file = files().get(random.nextInt(5));
                int missing = damage(file, random, round);
                try (TieredCache reader = new TieredCache(12, tiers)) {
                    int cached = reader.serve(PROMPT);
                    assertThat(cached).as("round %d", round).isLessThan(40);
                    assertThat(reader.tier(0).damaged() + reader.tier(0).incompatible())
                            .isEqualTo(1);
                    reader.settle();
                    assertThat(files()).as("it was removed, and written again").hasSize(5);
                    assertThat(reader.tier(0).stored()).isPositive();
                }
                assertThat(missing).isPositive();
            }
        }
    }

    @Test
    void aRestartedCacheFindsADamagedHeaderWhenItReadsIt() throws IOException {
        for (int at : new int[] {0, 4, 12, 16, 32, 63, 64, 72, 88, 100, 124}) {
            for (boolean damaged : new boolean[] {false, true}) {
                Tiers tiers = TieredCache.tiers(FileBlockStore.open(folder, ByteSize.mib(4)))
                        .writtenOnFirstUse(true)
                        .build();
                try (TieredCache test = new TieredCache(12, tiers)) {
                    int cached = test.serve(PROMPT);
                    test.settle();
                    assertThat(files()).hasSize(5);
                    if (!damaged) {
                        flip(files().get(2), at);
                        continue;
                    }
                    assertThat(cached).as("byte %d", at).isLessThan(40);
                    assertThat(test.tier(0).damaged() + test.tier(0).incompatible())
                            .as("byte %d", at)
                            .isEqualTo(1);
                }
            }
        }
    }

    @Test
    void anotherBlockUnderABlocksNameIsNotTakenForIt() throws IOException {
        FileBlockStore store = open(100);
        assertThat(FRAMES.store(store, 0)).isEqualTo(Outcome.DONE);
        Path zero = files().get(0);
        assertThat(FRAMES.store(store, 1)).isEqualTo(Outcome.DONE);
        Path one = files().get(files().get(0).equals(zero) ? 1 : 0);
        Files.copy(one, zero, StandardCopyOption.REPLACE_EXISTING);
        FileBlockStore reopened = open(100);
        assertThat(reopened.blocks()).isEqualTo(2);
        assertThat(FRAMES.load(reopened, 0)).isFalse();
        assertThat(FRAMES.load(reopened, 1)).isTrue();
    }

    @Test
    void whatHasNoBlocksNameOrIsNotInItsPlaceGoes() throws IOException {
        FileBlockStore store = open(100);
        assertThat(FRAMES.store(store, 0)).isEqualTo(Outcome.DONE);
        Path file = files().get(0);
        String name = file.getFileName().toString();
        for (String other : List.of(
                "x.kv8", "g" + name.substring(1), name.toUpperCase(Locale.ROOT).replace("KV8", "kv8"))) {
            Files.copy(file, file.resolveSibling(other));
        }
        Path elsewhere = Files.createDirectories(folder.resolve("zz"));
        Files.copy(file, elsewhere.resolve(name));
        Path notes = Files.writeString(folder.resolve("notes.txt"), "not of kv8");
        FileBlockStore reopened = open(100);
        assertThat(reopened.blocks()).isEqualTo(1);
        assertThat(files()).containsExactlyInAnyOrder(file, notes);
        assertThat(FRAMES.load(reopened, 0)).isTrue();
    }

    private static void flip(Path file, long at) throws IOException {
        try (RandomAccessFile access = new RandomAccessFile(file.toFile(), "rw")) {
            access.seek(at);
            int old = access.read();
            access.seek(at);
            access.write(old ^ 1);
        }
    }

    private static int damage(Path file, Random random, int round) throws IOException {
        try (RandomAccessFile access = new RandomAccessFile(file.toFile(), "rw")) {
            long length = access.length();
            if (round % 2 == 0) {
                access.setLength(random.nextInt((int) length));
                return (int) (length - access.length());
            }
            long at = random.nextInt(round % 4 == 1 ? BlockFrame.HEADER : (int) length);
            access.seek(at);
            int old = access.read();
            access.seek(at);
            access.write(old ^ 1 << random.nextInt(8));
            return 1;
        }
    }

    @Test
    void theLimitHoldsAndTheLeastUsefulGoes() throws IOException {
        FileBlockStore store = FileBlockStore.open(folder, room(3), EvictionPolicyKind.LRU);
        store.prepare(FRAMES.frameBytes());
        for (int i = 0; i < 3; i++) {
            assertThat(FRAMES.store(store, i)).isEqualTo(Outcome.DONE);
            FRAMES.anotherPrompt(store);
        }
        assertThat(FRAMES.load(store, 0)).isTrue();
        FRAMES.anotherPrompt(store);
        assertThat(FRAMES.store(store, 3)).isEqualTo(Outcome.DONE);
        assertThat(files()).hasSize(3);
        assertThat(FRAMES.load(store, 1)).isNull();
        assertThat(FRAMES.load(store, 0)).isTrue();
        assertThat(FRAMES.load(store, 3)).isTrue();
        store.close();
        FileBlockStore smaller = open(2);
        assertThat(smaller.blocks()).as("a smaller limit keeps the latest").isEqualTo(2);
        assertThat(files()).hasSize(2);
        assertThat(FRAMES.load(smaller, 3)).isTrue();
        assertThat(FRAMES.load(smaller, 2)).isNull();
    }

    @Test
    void badSizesAndFoldersAreRefused() throws IOException {
        FileBlockStore store = open(2);
        assertThatThrownBy(() -> store.prepare(1000))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("a folder of its own");
        FileBlockStore small = FileBlockStore.open(folder, ByteSize.of(10));
        assertThatThrownBy(() -> small.prepare(1000))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("limit");
        Path file = Files.writeString(folder.resolve("file"), "x");
        assertThatThrownBy(() -> FileBlockStore.open(file, ByteSize.gib(1))).isInstanceOf(IOException.class);
        store.close();
        assertThatThrownBy(() -> store.prepare(FRAMES.frameBytes()))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("closed");
    }

    @Test
    void aFullDiskKeepsWhatItHas() throws Exception {
        Path mounted = Files.createDirectory(folder.resolve("small"));
        assumeTrue(
                run("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", mounted.toString()) == 0,
                "a disk of 256 KiB can't be made here: mounting a tmpfs needs root");
        try {
            FileBlockStore store = FileBlockStore.open(mounted, room(100));
            store.prepare(FRAMES.frameBytes());
            int stored = 0;
            for (int i = 0; i < 10; i++) {
                Outcome outcome = FRAMES.store(store, i);
                assertThat(outcome).isIn(Outcome.DONE, Outcome.REFUSED);
                stored += outcome == Outcome.DONE ? 1 : 0;
            }
            assertThat(stored).isBetween(3, 6);
            for (int i = 0; i < stored; i++) {
                assertThat(FRAMES.load(store, i)).isTrue();
            }
            assertThat(unfinished(mounted)).isEmpty();
        } finally {
            run("umount", mounted.toString());
        }
    }

    /** As with a quota, or when there may be no more files: room is left by the disk's own account. */
    @ParameterizedTest
    @ValueSource(strings = {"No space left on device", "Disk quota exceeded"})
    void aDiskThatTakesNoMoreRefusesAndCanStillBeRead(String message) throws IOException {
        AtomicBoolean full = new AtomicBoolean();
        FileBlockStore store =
                FileBlockStore.open(folder, ByteSize.mib(1), EvictionPolicyKind.LRU, (channel, frame) -> {
                    if (full.get()) {
                        channel.write(frame.limit(frame.position() + 10));
                        throw new IOException(message);
                    }
                    channel.write(frame);
                });
        Tiers tiers = TieredCache.tiers(store).writtenOnFirstUse(true).build();
        try (TieredCache test = new TieredCache(12, tiers)) {
            test.serve(PROMPT);
            test.settle();
            full.set(true);
            test.evictAll();
            assertThat(test.tier(0).refused()).isGreaterThan(5);
            assertThat(test.tier(0).failed()).isZero();
            assertThat(test.tier(0).open()).isFalse();
            assertThat(test.serve(PROMPT)).isEqualTo(40);
            test.settle();
            assertThat(unfinished(folder)).isEmpty();
        }
        assertThat(files()).hasSize(5);
    }

    /** A folder of ten thousand blocks, as after days of use; what is in them is for the other tests. */
    @Test
    void aLargeFolderServesTheSameAfterARestart() throws IOException {
        int prompts = 100;
        int blocks = 100;
        for (int run = 0; run < 2; run++) {
            FileBlockStore store = FileBlockStore.open(folder, ByteSize.mib(64));
            Tiers tiers = TieredCache.tiers(store).writtenOnFirstUse(true).build();
            KvCacheConfig config = OneLayer.config()
                    .blocks(blocks + 1)
                    .modelId("test")
                    .tiers(tiers)
                    .build();
            int[] tokens = new int[config.blockSize() * blocks + 1];
            try (SilentBackend backend = new SilentBackend();
                    KvCache cache = KvCache.create(backend, config);
                    Batch batch = cache.batch()) {
                assertThat(store.blocks()).isEqualTo(run * prompts * blocks);
                for (int i = 0; i < prompts; i++) {
                    Arrays.fill(tokens, i);
                    try (Sequence sequence = cache.open(tokens)) {
                        sequence.awaitLoaded();
                        assertThat(sequence.cachedTokens()).isEqualTo(run * config.blockSize() * blocks);
                        assertThat(batch.add(sequence)).isTrue();
                        batch.commit();
                    }
                    while (cache.poll()) {
                        LockSupport.parkNanos(100_000); // a disk takes its time
                    }
                }
            }
        }
    }

    private static int run(String... command) throws IOException, InterruptedException {
        return new ProcessBuilder(command).redirectErrorStream(true).start().waitFor();
    }

    // ---- other processes

    /** Stores and loads blocks of a few numbers for ever, in a folder with less room than they take. */
    static final class Worker {
        public static void main(String[] arguments) throws IOException {
            FileBlockStore store = FileBlockStore.open(Path.of(arguments[0]), room(20));
            store.prepare(FRAMES.frameBytes());
            Random random = new Random(Long.parseLong(arguments[1]));
            int rounds = Integer.parseInt(arguments[2]);
            System.out.println("working");
            for (int i = 0; i < rounds; i++) {
                int number = random.nextInt(40);
                if (random.nextBoolean()) {
                    FRAMES.store(store, number);
                } else if (Boolean.FALSE.equals(FRAMES.load(store, number))) {
                    System.out.println("wrong bytes of " + number);
                    System.exit(1);
                }
            }
        }
    }

    private Process worker(long seed, int rounds) throws IOException {
        return new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                        "-cp",
                        System.getProperty("java.class.path"),
                        Worker.class.getName(),
                        folder.toString(),
                        Long.toString(seed),
                        Integer.toString(rounds))
                .redirectErrorStream(true)
                .start();
    }

    @Test
    void twoProcessesShareAFolder() throws Exception {
        Process one = worker(1, 1500);
        Process two = worker(2, 1500);
        for (Process process : List.of(one, two)) {
            String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            assertThat(process.waitFor(60, TimeUnit.SECONDS)).isTrue();
            assertThat(process.exitValue()).as(output).isZero();
        }
        FileBlockStore store = open(100);
        assertThat(store.blocks()).isPositive();
        for (int i = 0; i < 40; i++) {
            assertThat(FRAMES.load(store, i)).isNotEqualTo(false);
        }
    }

    @Test
    void aKilledProcessLeavesOnlyWholeBlocks() throws Exception {
        for (int round = 0; round < 4; round++) {
            Process process = worker(round, Integer.MAX_VALUE);
            assertThat(process.inputReader().readLine()).isEqualTo("working");
            Thread.sleep(20 + 40 * round); // anywhere in its work
            process.destroyForcibly().waitFor();
            FileBlockStore store = open(100);
            assertThat(unfinished(folder)).as("what it had begun is gone").isEmpty();
            int blocks = 0;
            for (int i = 0; i < 40; i++) {
                Boolean loaded = FRAMES.load(store, i);
                assertThat(loaded).isNotEqualTo(false);
                blocks += loaded != null ? 1 : 0;
            }
            assertThat(blocks).isEqualTo(store.blocks());
            store.close();
        }
    }
}
