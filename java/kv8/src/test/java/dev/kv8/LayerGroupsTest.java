package dev.kv8;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** Which layers share blocks. */
class LayerGroupsTest {
    private static LayerGroups of(IntStream windows) {
        return LayerGroups.of(16, windows.toArray());
    }

    /** {@code layers} of which each {@code period}-th sees all keys. */
    private static LayerGroups mixed(int layers, int period, int window) {
        return of(IntStream.range(0, layers).map(layer -> layer % period == period - 1 ? 0 : window));
    }

    private static int layersOfPage(LayerGroups groups, int layers) {
        return IntStream.range(0, groups.count())
                .map(group -> (int) IntStream.range(0, layers)
                        .filter(layer -> groups.of(layer) == group)
                        .count())
                .max()
                .orElseThrow();
    }

    @Test
    void layersOfOneWindowAreOneGroup() {
        assertThat(of(IntStream.generate(() -> 0).limit(32)).isOne()).isTrue();
        LayerGroups windowed = of(IntStream.generate(() -> 4096).limit(32));
        assertThat(windowed.isOne()).isTrue();
        assertThat(windowed.window(0)).isEqualTo(4096);
    }

    @Test
    void pagesOfKnownModelsAreFull() {
        LayerGroups gemma2 = mixed(26, 2, 4096);
        assertThat(gemma2.windows()).isEqualTo(List.of(0, 4096));
        assertThat(layersOfPage(gemma2, 26)).isEqualTo(13);
        LayerGroups gemma3 = mixed(48, 6, 1024); // 12B
        assertThat(gemma3.windows()).isEqualTo(List.of(0, 1024, 1024, 1024, 1024, 1024));
        assertThat(layersOfPage(gemma3, 48)).isEqualTo(8);
        LayerGroups gemma34b = mixed(34, 6, 1024); // 29 windowed layers, 5 full ones
        assertThat(gemma34b.count()).isEqualTo(7);
        assertThat(layersOfPage(gemma34b, 34)).isEqualTo(5);
        LayerGroups qwen = of(IntStream.range(0, 28).map(layer -> layer < 21 ? 0 : 32768));
        assertThat(qwen.windows()).isEqualTo(List.of(0, 0, 0, 32768));
        assertThat(layersOfPage(qwen, 28)).isEqualTo(7);
    }

    @Test
    void anyMixIsCoveredByAFewGroupsOfOneKindEach() {
        long seed = Long.getLong("kv8.seed", System.nanoTime());
        Random random = new Random(seed);
        for (int round = 0; round < 500; round++) {
            int kinds = 1 + random.nextInt(4);
            int[] windows = random.ints(1 + random.nextInt(90), 0, kinds)
                    .map(kind -> kind * 100)
                    .toArray();
            LayerGroups groups = LayerGroups.of(16, windows);
            assertThat(groups.count()).as("seed %d", seed).isBetween(1, LayerGroups.MOST);
            int[] sizes = new int[groups.count()];
            for (int layer = 0; layer < windows.length; layer++) {
                assertThat(groups.window(groups.of(layer))).as("seed %d", seed).isEqualTo(windows[layer]);
                sizes[groups.of(layer)]++;
            }
            for (int group = 0; group < sizes.length; group++) {
                assertThat(sizes[group]).as("seed %d", seed).isPositive();
                for (int other = 0; other < group; other++) {
                    if (groups.window(other) == groups.window(group)) {
                        assertThat(Math.abs(sizes[group] - sizes[other]))
                                .as("seed %d", seed)
                                .isLessThanOrEqualTo(1);
                    }
                }
            }
            assertThat(groups.window(0))
                    .as("seed %d: the widest view first", seed)
                    .isEqualTo(
                            IntStream.of(windows).anyMatch(window -> window == 0)
                                    ? 0
                                    : IntStream.of(windows).max().orElseThrow());
        }
    }

    @Test
    void tooManyDifferentWindowsAreRefused() {
        assertThat(of(IntStream.range(1, 9)).count()).isEqualTo(8);
        assertThatIllegalArgumentException()
                .isThrownBy(() -> of(IntStream.range(0, 9)))
                .withMessageContaining("9 different windows, from 1 to all keys; a cache takes 8");
    }
}
