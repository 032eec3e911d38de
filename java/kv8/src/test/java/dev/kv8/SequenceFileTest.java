package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.kv8.CacheOracle.Entry;
import dev.kv8.CacheUnderTest.Step;
import dev.kv8.CacheUnderTest.Tracked;
import dev.kv8.KvScales.LayerScales;
import dev.kv8.KvScales.Side;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.function.UnaryOperator;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import java.util.zip.CRC32C;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Sequences in files: what comes back, and what is refused without a trace. */
class SequenceFileTest {
    @TempDir
    Path folder;

    private final CacheUnderTest test = new CacheUnderTest(false, Integer.SIZE, true);
    private final Step step = new Step(test.cache.batch(), new ArrayList<>());

    @AfterEach
    void nothingStaysBehind() throws IOException {
        test.cache.ledger().pool().checkInvariants();
        test.cache.close();
        try (Stream<Path> files = Files.list(folder)) {
            assertThat(files.filter(file -> file.toString().endsWith(".tmp"))).isEmpty();
        }
    }

    private static int[] tokens(int count) {
        return IntStream.range(0, count).map(i -> 3 + 7 * i % 50).toArray();
    }

    private static Tracked tracked(Sequence sequence) {
        Entry entry = new Entry(SequenceOptions.DEFAULT);
        IntStream.range(0, sequence.length()).map(sequence::token).forEach(entry.tokens::add);
        entry.computed = sequence.computedTokens();
        return new Tracked(sequence, entry);
    }

    /** Computes {@code count} more tokens with the content that belongs to them, and checks the attention over all. */
    private void compute(Sequence sequence, int count) {
        Tracked one = tracked(sequence);
        assertThat(step.batch().add(sequence, count)).isTrue();
        one.entry().scheduled = count;
        step.added().add(one);
        test.checkMetadata(step);
        for (int layer = 0; layer < CacheUnderTest.LAYERS; layer++) {
            test.write(step, layer);
            test.attendAndCompare(step, layer);
        }
        step.batch().commit();
        step.added().clear();
        test.checkContent(tracked(sequence));
    }

    private Path saved(int computed, int pending) throws IOException {
        Path file = folder.resolve("sequence-" + computed);
        try (Sequence sequence = test.cache.open(tokens(computed + pending))) {
            if (sequence.computedTokens() < computed) {
                compute(sequence, computed - sequence.computedTokens());
            }
            test.cache.save(sequence, file);
        }
        return file;
    }

    private static KvCache another(UnaryOperator<KvCacheConfig.Builder> change) {
        KvScales scales = KvScales.builder(CacheUnderTest.LAYERS, TokenContent.KV_HEADS, TokenContent.HEAD_SIZE)
                .layer(1, new LayerScales(Side.DYNAMIC, Side.NONE))
                .build();
        KvCacheConfig.Builder builder = KvCacheConfig.builder()
                .layers(CacheUnderTest.LAYERS)
                .kvHeads(TokenContent.KV_HEADS)
                .headSize(TokenContent.HEAD_SIZE)
                .kDtype(KvCacheDType.FP8)
                .vDtype(KvCacheDType.FLOAT32)
                .scales(scales)
                .blockSize(CacheUnderTest.BLOCK_SIZE)
                .modelId("a model")
                .blocks(CacheUnderTest.BLOCKS);
        return KvCache.create(new InMemoryBackend(true), change.apply(builder).build());
    }

    // ---- what comes back

    @Test
    void everyLengthComesBackAndGoesOn() throws IOException {
        for (int computed : new int[] {0, 1, 7, 8, 9, 16, 21}) {
            Path file = saved(computed, 3);
            test.cache.clearPrefixes(""); // the same weights, and nothing stored
            Sequence other = test.cache.open(IntStream.range(500, 530).toArray());
            compute(other, 30);
            other.close();
            Sequence restored = test.cache.restore(file);
            assertThat(restored.computedTokens()).isEqualTo(computed);
            assertThat(restored.length()).isEqualTo(computed + 3);
            assertThat(restored.cachedTokens()).isZero();
            test.checkContent(tracked(restored));
            compute(restored, 3);
            restored.append(77);
            compute(restored, 1);
            restored.close();
        }
    }

    /** Token ids are written and read in parts. */
    @Test
    void aLongTextComesBack() throws IOException {
        int[] text = IntStream.range(0, 600_000).toArray();
        Path file = folder.resolve("long");
        Sequence sequence = test.cache.open(text);
        assertThat(step.batch().add(sequence, 12)).isTrue();
        step.batch().commit();
        test.cache.save(sequence, file);
        Sequence restored = test.cache.restore(file);
        assertThat(restored.computedTokens()).isEqualTo(12);
        assertThat(Arrays.copyOf(restored.tokenIds(), restored.length())).isEqualTo(text);
        byte[] damaged = Files.readAllBytes(file);
        damaged[2_000_001] ^= 4;
        Files.write(file, damaged);
        refused(test.cache, file, "the content is damaged");
    }

    @Test
    void itCanBeRestoredTwiceAndInAnotherCacheOfTheKind() throws IOException {
        Path file = saved(19, 1);
        Sequence first = test.cache.restore(file);
        Sequence second = test.cache.restore(file);
        compute(first, 1);
        second.truncate(12);
        second.append(88);
        compute(second, 1);
        test.checkContent(tracked(first));
        try (KvCache other = another(builder -> builder.blocks(5).salt("another"))) {
            assertThat(other.restore(file).computedTokens()).isEqualTo(19);
            assertThat(other.stats().usedBlocks()).isEqualTo(3);
            assertThat(other.stats().storedTokens()).isEqualTo(19);
        }
    }

    @Test
    void restoredBlocksAreReusedByOthers() throws IOException {
        Path file = saved(19, 1);
        test.cache.clearPrefixes(""); // the same weights, and nothing stored
        assertThat(test.cache.open(tokens(40)).cachedTokens()).isZero();
        test.cache.restore(file).close();
        Sequence other = test.cache.open(tokens(40));
        assertThat(other.cachedTokens()).isEqualTo(16);
        test.checkContent(tracked(other));
    }

    @Test
    void theStepsOfARestoredSequenceKeepItsScalesInForce() throws IOException {
        Path file = saved(9, 1);
        try (KvCache other = another(builder -> builder)) {
            Sequence restored = other.restore(file);
            assertThatThrownBy(() -> other.setScales(0, LayerScales.NONE))
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining("Layer 0 holds tokens");
            restored.close();
            other.setScales(0, new LayerScales(Side.tensor(0.5f), Side.NONE));
            refused(other, file, "the granularity of the scales of K of layer 0 is NONE in the file and TENSOR");
        }
    }

    /** Space behind the last token holds what another conversation left there. */
    @Test
    void aFileHasNothingOfOthers() throws IOException {
        Path first = saved(13, 0);
        byte[] clean = Files.readAllBytes(first);
        Path copy = folder.resolve("copy");
        Sequence longer = test.cache.open(tokens(13));
        compute(longer, longer.pendingTokens());
        longer.append(1, 2, 3);
        compute(longer, 3);
        longer.truncate(13);
        test.cache.save(longer, copy);
        assertThat(Files.readAllBytes(copy)).isEqualTo(clean);
    }

    /** Or the old weights' content would be found under the new ones' keys. */
    @Test
    void otherWeightsAreRefusedByName() throws IOException {
        Path own = saved(19, 1);
        test.cache.clearPrefixes("step 2");
        refused(test.cache, own, "with the model's own weights, and this cache goes on with the weights \"step 2\"");
        assertThat(test.cache.open(tokens(40)).cachedTokens()).isZero();
        Path second = saved(18, 2);
        test.cache.clearPrefixes("step 3");
        refused(test.cache, second, "with the weights \"step 2\", and this cache goes on with the weights \"step 3\"");
        try (KvCache fresh = another(builder -> builder)) {
            refused(fresh, second, "with the weights \"step 2\", and this cache goes on with the model's own weights");
            fresh.restore(own).close();
            fresh.clearPrefixes("step 2");
            fresh.restore(second).close();
            assertThat(fresh.open(tokens(40)).cachedTokens()).isEqualTo(16);
        }
        test.cache.clearPrefixes();
        refused(test.cache, second, "with the weights \"step 2\"");
    }

    @ParameterizedTest
    @ValueSource(booleans = {true, false})
    void whatWasComputedBeforeTheWeightsChangedIsNotSaved(boolean prefixCaching) throws IOException {
        Path file = folder.resolve("mixed");
        try (KvCache cache = another(builder -> builder.prefixCaching(prefixCaching));
                Batch batch = cache.batch()) {
            Sequence sequence = cache.open(tokens(20));
            assertThat(batch.add(sequence, 9)).isTrue();
            batch.commit();
            cache.clearPrefixes("step 2");
            assertThat(batch.add(sequence)).isTrue();
            batch.commit();
            assertThatThrownBy(() -> cache.save(sequence, file))
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining("20 tokens were computed before clearPrefixes");
            assertThat(file).doesNotExist();
            sequence.truncate(0);
            sequence.append(tokens(20));
            assertThat(batch.add(sequence)).isTrue();
            batch.commit();
            cache.save(sequence, file);
            cache.restore(file).close();
        }
    }

    // ---- what is refused

    private void refused(KvCache cache, Path file, String message) {
        CacheStats before = cache.stats();
        assertThatThrownBy(() -> cache.restore(file))
                .isInstanceOf(SequenceFileException.class)
                .hasMessageStartingWith(file + ": ")
                .hasMessageContaining(message);
        assertThat(cache.stats()).isEqualTo(before);
        cache.ledger().pool().checkInvariants();
    }

    @Test
    void aFileOfAnotherKindIsRefusedByWhatDiffers() throws IOException {
        Path file = saved(19, 1);
        KvScales.Builder scales = KvScales.builder(2, TokenContent.KV_HEADS, TokenContent.HEAD_SIZE);
        check(file, b -> b.modelId("b"), "the model is \"a model\" in the file and \"b\" in this cache");
        check(file, b -> b.layers(3).scales(KvScales.none(3)), "the number of layers is 2 in the file and 3");
        check(file, b -> b.kvHeads(1).scales(KvScales.none(2)), "the number of KV heads is 2 in the file and 1");
        check(file, b -> b.headSize(128), "the head size is 64 in the file and 128");
        check(file, b -> b.window(64), "the window of layer 0 is 0 in the file and 64 in this cache");
        check(file, b -> b.layerWindows(0, 64), "the window of layer 1 is 0 in the file and 64 in this cache");
        check(file, b -> b.blockSize(16), "the block size is 8 in the file and 16");
        check(
                file,
                b -> b.kDtype(KvCacheDType.FP8_E5M2),
                "the type of K of layer 0 is e4m3fn in the file and e5m2 in this cache");
        check(file, b -> b.scales(KvScales.none(2)), "scales of K of layer 1 is DYNAMIC in the file and NONE");
        check(
                file,
                b -> b.scales(scales.layer(0, new LayerScales(Side.tensor(2), Side.NONE))
                        .layer(1, new LayerScales(Side.DYNAMIC, Side.NONE))
                        .build()),
                "the granularity of the scales of K of layer 0 is NONE in the file and TENSOR");
    }

    @Test
    void blocksTooLargeForFilesAreRefused() {
        KvCacheConfig config = KvCacheConfig.builder()
                .layers(64)
                .kvHeads(1024)
                .headSize(256)
                .blockSize(128)
                .modelId("a model")
                .blocks(1)
                .build();
        KvScales scales = KvScales.none(64);
        InMemoryBackend backend = new InMemoryBackend(true);
        try (DeviceMemory pool = backend.allocate(64)) {
            BlockLedger ledger = new BlockLedger(config, () -> scales, (from, to) -> {});
            SequenceStorage storage = new SequenceStorage(backend, config, pool, () -> scales, ledger);
            assertThatThrownBy(() -> storage.restore(folder.resolve("large"), SequenceOptions.DEFAULT))
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining("A block of this cache has 8589934592 bytes, and files take those of up to");
        }
    }

    /** No kv8 writes one; what another program made is refused like anything else. */
    @Test
    void aGroupWithoutLayersIsRefused() throws IOException {
        Path file = folder.resolve("grouped");
        test.cache.save(test.cache.open(1, 2), file);
        byte[] whole = Files.readAllBytes(file);
        ByteBuffer old = ByteBuffer.wrap(whole).order(ByteOrder.LITTLE_ENDIAN);
        int groups = 60;
        for (int text = 0; text < 3; text++) { // the model, the weights, the salt
            groups += Integer.BYTES + old.getInt(groups);
        }
        int end = groups + Integer.BYTES + 2 * Integer.BYTES;
        ByteBuffer more = ByteBuffer.allocate(whole.length + 8).order(ByteOrder.LITTLE_ENDIAN);
        more.put(whole, 0, end).putLong(0).put(whole, end, whole.length - end);
        more.putInt(groups, old.getInt(groups) + 1);
        int bytes = old.getInt(12) + 8;
        more.putInt(12, bytes);
        CRC32C crc = new CRC32C();
        crc.update(more.array(), 0, bytes - Integer.BYTES);
        more.putInt(bytes - Integer.BYTES, (int) crc.getValue());
        Files.write(file, more.array());
        refused(test.cache, file, "the number of groups of layers is 2 in the file and 1 in this cache");
    }

    @Test
    void otherScalesOfTheSameGranularityAreRefused() throws IOException {
        LayerScales[] both = {
            new LayerScales(Side.head(1, 2), Side.NONE), new LayerScales(Side.head(1, Math.nextUp(2f)), Side.NONE)
        };
        Path file = folder.resolve("scaled");
        for (int i = 0; i < 2; i++) {
            KvScales scales = KvScales.builder(2, TokenContent.KV_HEADS, TokenContent.HEAD_SIZE)
                    .layer(1, both[i])
                    .build();
            try (KvCache cache = another(builder -> builder.scales(scales))) {
                if (i == 0) {
                    cache.save(cache.open(1, 2), file);
                    cache.restore(file).close();
                } else {
                    refused(cache, file, "the scales of K of layer 1 were others than those of this cache now");
                }
            }
        }
    }

    private void check(Path file, UnaryOperator<KvCacheConfig.Builder> change, String message) {
        try (KvCache cache = another(change)) {
            refused(cache, file, message);
        }
    }

    @Test
    void aTruncatedFileIsRefusedWhereverItEnds() throws IOException {
        byte[] whole = Files.readAllBytes(saved(30, 2));
        assertThat(whole.length).isGreaterThan(40_000);
        Sequence other = test.cache.open(IntStream.range(900, 920).toArray());
        compute(other, 20);
        IntStream lengths = IntStream.concat(
                IntStream.concat(IntStream.range(0, 420), IntStream.iterate(512, n -> n < whole.length, n -> n + 512)),
                IntStream.of(whole.length - 1));
        Path cut = folder.resolve("cut");
        for (int length : lengths.toArray()) {
            Files.write(cut, Arrays.copyOf(whole, length));
            refused(test.cache, cut, "cut off");
        }
        Files.write(cut, Arrays.copyOf(whole, whole.length + 1));
        refused(test.cache, cut, "it is too long");
        Files.write(cut, whole);
        test.cache.restore(cut).close();
        other.close();
    }

    @Test
    void aFlippedBitIsFoundWhereverItIs() throws IOException {
        byte[] whole = Files.readAllBytes(saved(10, 2));
        Sequence other = test.cache.open(IntStream.range(900, 920).toArray());
        compute(other, 20);
        Path flipped = folder.resolve("flipped");
        for (int at = 0; at < whole.length; at += at < 600 ? 1 : 29) {
            byte[] copy = whole.clone();
            copy[at] ^= (byte) (1 << at % 8);
            Files.write(flipped, copy);
            refused(test.cache, flipped, "");
        }
        other.close();
    }

    @Test
    void otherFilesAreNamedForWhatTheyAre() throws IOException {
        Path text = Files.writeString(folder.resolve("text"), "This is a text and no sequence, but long enough.");
        refused(test.cache, text, "no file of a kv8 sequence");
        byte[] newer = Files.readAllBytes(saved(1, 1));
        newer[8] = 5;
        Path later = Files.write(folder.resolve("later"), newer);
        refused(test.cache, later, "of version 5; this kv8 reads version 4");
        Path missing = folder.resolve("missing");
        assertThatThrownBy(() -> test.cache.restore(missing)).isInstanceOf(NoSuchFileException.class);
        assertThatThrownBy(() -> test.cache.restore(folder)).isInstanceOf(IOException.class);
    }

    @Test
    void aSequenceThatDoesNotFitIsRefusedAndEvictsNothing() throws IOException {
        Path file = saved(30, 2);
        try (KvCache small = another(builder -> builder.blocks(5))) {
            Sequence other = small.open(1, 2);
            Batch batch = small.batch();
            assertThat(batch.add(other)).isTrue();
            batch.commit();
            Sequence more = small.open(IntStream.range(0, 9).toArray());
            assertThat(batch.add(more)).isTrue();
            batch.commit();
            more.close();
            CacheStats before = small.stats();
            small.restore(file).close();
            Sequence second = small.open(7, 8);
            assertThat(batch.add(second)).isTrue();
            batch.commit();
            CacheStats full = small.stats();
            assertThat(full.usedBlocks()).isEqualTo(before.usedBlocks() + 1);
            assertThatThrownBy(() -> small.restore(file))
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining("needs 4 blocks, but only 3 of 5 are free");
            assertThat(small.stats()).isEqualTo(full);
        }
    }

    @Test
    void aFailingUploadGivesTheBlocksBack() throws IOException {
        Path file = saved(30, 2);
        InMemoryBackend failing = new InMemoryBackend(true) {
            private int uploads;

            @Override
            public void upload(java.nio.ByteBuffer source, DeviceMemory target, long offset) {
                if (++uploads == 3) {
                    throw new DeviceException("lost");
                }
                super.upload(source, target, offset);
            }
        };
        try (KvCache cache = KvCache.create(failing, test.cache.config())) {
            assertThatThrownBy(() -> cache.restore(file)).isInstanceOf(DeviceException.class);
            assertThat(cache.ledger().pool().available()).isEqualTo(CacheUnderTest.BLOCKS);
            assertThat(cache.stats().freeBlocks()).isEqualTo(CacheUnderTest.BLOCKS);
            assertThat(cache.stats().openSequences()).isZero();
            cache.ledger().pool().checkInvariants();
            assertThat(cache.restore(file).computedTokens()).isEqualTo(30);
        }
    }

    @Test
    void whatCannotBeSavedIsRefusedAndAnOldFileStays() throws IOException {
        Path file = saved(9, 1);
        byte[] old = Files.readAllBytes(file);
        Sequence sequence = test.cache.open(1, 2, 3);
        assertThat(step.batch().add(sequence)).isTrue();
        assertThatThrownBy(() -> test.cache.save(sequence, file))
                .isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("clear the batch before the sequence is saved");
        step.batch().clear();
        sequence.cancel();
        assertThatThrownBy(() -> test.cache.save(sequence, file)).hasMessageContaining("has been cancelled");
        Sequence open = test.cache.open(1, 2);
        try (KvCache other = another(builder -> builder)) {
            assertThatThrownBy(() -> other.save(open, file)).hasMessageContaining("belongs to another cache");
        }
        assertThatThrownBy(() -> test.cache.save(open, folder)).hasMessageContaining("is a directory");
        assertThatThrownBy(() -> test.cache.save(open, folder.resolve("no/such/file")))
                .isInstanceOf(IOException.class)
                .hasMessageContaining("make it first");
        assertThat(Files.readAllBytes(file)).isEqualTo(old);
        try (KvCache nameless = another(builder -> builder.modelId(""))) {
            assertThatThrownBy(() -> nameless.save(nameless.open(1), folder.resolve("nameless")))
                    .isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining("Give KvCacheConfig.modelId");
            assertThatThrownBy(() -> nameless.restore(file)).hasMessageContaining("Give KvCacheConfig.modelId");
        }
        assertThat(folder.resolve("nameless")).doesNotExist();
    }

    @Test
    void aFailingDownloadLeavesTheOldFile() throws IOException {
        Path file = saved(9, 1);
        byte[] old = Files.readAllBytes(file);
        InMemoryBackend failing = new InMemoryBackend(true) {
            @Override
            public void download(DeviceMemory source, long offset, java.nio.ByteBuffer target) {
                throw new DeviceException("lost");
            }
        };
        try (KvCache cache = KvCache.create(failing, test.cache.config())) {
            Sequence restored = cache.restore(file);
            assertThatThrownBy(() -> cache.save(restored, file)).isInstanceOf(DeviceException.class);
        }
        assertThat(Files.readAllBytes(file)).isEqualTo(old);
    }

    /** Codes of gfx942 mean other numbers elsewhere. */
    @Test
    void aDeviceOfOtherCodesIsRefused() throws IOException {
        Path file = saved(9, 1);
        InMemoryBackend fnuz = new InMemoryBackend(true) {
            @Override
            public DeviceInfo info() {
                Set<DType> types = Set.of(DType.FLOAT32, DType.E4M3FNUZ, DType.E5M2FNUZ);
                return new DeviceInfo("rocm", 0, "MI300X", "gfx942", 1L << 40, 1L << 40, 0, types, types, 0, true, "");
            }
        };
        try (KvCache cache = KvCache.create(fnuz, test.cache.config())) {
            CacheStats before = cache.stats();
            for (String call : List.of("save", "restore")) {
                assertThatThrownBy(() -> {
                            if (call.equals("save")) {
                                cache.save(cache.open(1), folder.resolve("fnuz"));
                            } else {
                                cache.restore(file);
                            }
                        })
                        .isInstanceOf(IllegalStateException.class)
                        .hasMessageContaining("This device stores e4m3fnuz instead of e4m3fn");
            }
            assertThat(cache.stats().usedBlocks()).isEqualTo(before.usedBlocks());
            assertThat(folder.resolve("fnuz")).doesNotExist();
        }
    }

    @Test
    void aSaltIsGivenAgainWhenItIsRestored() throws IOException {
        SequenceOptions salted = SequenceOptions.builder().salt("a tenant").build();
        Sequence sequence = test.cache.open(salted, tokens(16));
        compute(sequence, 16);
        Path file = folder.resolve("salted");
        test.cache.save(sequence, file);
        sequence.close(ReleaseHint.DISCARD);
        assertThatThrownBy(() -> test.cache.restore(file))
                .isInstanceOf(SequenceFileException.class)
                .hasMessageContaining("had a salt, and it is to be restored with none");
        assertThatThrownBy(() -> test.cache.restore(
                        SequenceOptions.builder().salt("another").build(), file))
                .isInstanceOf(SequenceFileException.class)
                .hasMessageContaining("had a salt, and it is to be restored with another");
        assertThat(test.cache.stats().usedBlocks()).isZero();
        Sequence restored = test.cache.restore(salted, file);
        assertThat(restored.options()).isSameAs(salted);
        Sequence same = test.cache.open(salted, tokens(17));
        Sequence other = test.cache.open(tokens(17));
        assertThat(same.computedTokens()).isEqualTo(16);
        assertThat(other.computedTokens()).isZero();
        same.close();
        other.close();
        restored.close();
    }
}
