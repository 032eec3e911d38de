package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;

import dev.kv8.KvScales.LayerScales;
import dev.kv8.KvScales.Side;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import org.junit.jupiter.api.Test;

class PrefixHasherTest {
    private static final int BLOCK_SIZE = 8;

    private static KvCacheConfig.Builder config() {
        return KvCacheConfig.builder()
                .layers(2)
                .kvHeads(2)
                .headSize(64)
                .dtype(KvCacheDType.FP8)
                .blockSize(BLOCK_SIZE)
                .blocks(4);
    }

    private static List<Long> root(KvCacheConfig.Builder builder) {
        KvCacheConfig config = builder.build();
        return root(config, config.scales());
    }

    private static List<Long> root(KvCacheConfig config, KvScales scales) {
        long[] key = new long[PrefixIndex.KEY];
        new PrefixHasher(config.blockSize()).root(config, scales, "", key);
        return Arrays.stream(key).boxed().toList();
    }

    @Test
    void aBlocksKeyIsTheSha256OfItsParentsKeyAndItsTokens() throws NoSuchAlgorithmException {
        long seed = System.nanoTime();
        Random random = new Random(seed);
        PrefixHasher hasher = new PrefixHasher(BLOCK_SIZE);
        long[] keys = random.longs(2 * PrefixIndex.KEY).toArray();
        int[] tokens = random.ints(3 + BLOCK_SIZE, 0, Integer.MAX_VALUE).toArray();
        ByteBuffer input = ByteBuffer.allocate(32 + 4 * BLOCK_SIZE).order(ByteOrder.LITTLE_ENDIAN);
        for (int i = 0; i < PrefixIndex.KEY; i++) {
            input.putLong(keys[i]);
        }
        for (int i = 0; i < BLOCK_SIZE; i++) {
            input.putInt(tokens[3 + i]);
        }
        long[] expected = new long[PrefixIndex.KEY];
        ByteBuffer.wrap(MessageDigest.getInstance("SHA-256").digest(input.array()))
                .order(ByteOrder.LITTLE_ENDIAN)
                .asLongBuffer()
                .get(expected);

        hasher.child(keys, 0, tokens, 3, keys, PrefixIndex.KEY);
        assertThat(Arrays.copyOfRange(keys, PrefixIndex.KEY, keys.length))
                .as("seed %d", seed)
                .isEqualTo(expected);
    }

    @Test
    void whateverDecidesWhatIsStoredMakesAnotherRoot() {
        List<KvCacheConfig.Builder> different = new ArrayList<>(List.of(
                config(),
                config().layers(3),
                config().kvHeads(1),
                config().headSize(128),
                config().blockSize(16),
                config().kDtype(KvCacheDType.FP8_E5M2),
                config().vDtype(KvCacheDType.FP8_E5M2),
                config().window(64),
                config().window(128),
                config().layerWindows(0, 64),
                config().skipLayers(0),
                config().skipLayers(1),
                config().skipLayers(1).modelDtype(DType.FLOAT16),
                config().modelId("a"),
                config().modelId("b"),
                config().salt("a"),
                config().modelId("a").salt("b"),
                config().modelId("ab"),
                config().salt("ab")));
        for (LayerScales scales : List.of(
                LayerScales.DYNAMIC,
                new LayerScales(Side.tensor(2), Side.NONE),
                new LayerScales(Side.NONE, Side.tensor(2)),
                new LayerScales(Side.tensor(4), Side.NONE),
                new LayerScales(Side.head(2, 2), Side.NONE),
                new LayerScales(Side.tensor(1), Side.NONE))) {
            for (int layer = 0; layer < 2; layer++) {
                different.add(config().scales(
                                KvScales.builder(2, 2, 64).layer(layer, scales).build()));
            }
        }
        Set<List<Long>> roots = new HashSet<>();
        different.forEach(builder -> roots.add(root(builder)));
        assertThat(roots).hasSameSizeAs(different);
    }

    /** Written one behind the other they would be the same characters. */
    @Test
    void fieldsThatReadAlikeMakeDifferentRoots() {
        assertThat(root(config().modelId("m").salt("xsalt")))
                .isNotEqualTo(root(config().modelId("msaltx").salt("")));
    }

    /**
     * Tiers outlive processes and releases: who changes a key makes all that they keep useless. The digests were made by another program from
     * the description of the fields.
     */
    @Test
    void keysAreTheSameInEveryProcessAndRelease() {
        KvCacheConfig.Builder named = config().modelId("a model");
        PrefixHasher hasher = new PrefixHasher(BLOCK_SIZE);
        long[] key = new long[PrefixIndex.KEY];
        hasher.root(named.build(), named.build().scales(), "", key);
        assertThat(BlockKey.of(key, 0).hex())
                .isEqualTo("989626c6f03f6fde670c3a82c39db92c545a77a1864d9d066d2fb304610d2d20");
        hasher.child(key, 0, new int[] {1, 2, 3, 4, 5, 6, 7, 8}, 0, key, 0);
        assertThat(BlockKey.of(key, 0).hex())
                .isEqualTo("53297fbf1d78bc50aea6332cf77ac3fb45c51d88fa90c5a52fbd5ba159fc7eeb");
        hasher.root(named.salt("s").build(), named.build().scales(), "step 2", key);
        assertThat(BlockKey.of(key, 0).hex())
                .isEqualTo("8c44ab432452c88bf0f4ed1ddba243d6ce9ed8eef1b504caf99115a53b16e860");
    }

    @Test
    void whatDoesNotDecideItMakesTheSameRoot() {
        List<Long> root = root(config());
        assertThat(root(config())).isEqualTo(root);
        assertThat(root(config().blocks(5))).isEqualTo(root);
        assertThat(root(config().dtype(KvCacheDType.FP8_E4M3))).isEqualTo(root);
        assertThat(root(config().build(), KvScales.none(2))).isEqualTo(root);
    }
}
