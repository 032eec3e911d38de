package dev.kv8.llm;

import dev.kv8.KvScales;
import java.io.DataInput;
import java.io.DataOutput;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;

/** The magnitudes of K and V of a model's layers by channel, of which every granularity's are sums. */
final class LayerMagnitudes {
    private final int heads;
    private final int headSize;
    private final List<Layer> layers = new ArrayList<>();

    private record Layer(MagnitudeCounts k, MagnitudeCounts v) {}

    LayerMagnitudes(int layers, int heads, int headSize) {
        this.heads = heads;
        this.headSize = headSize;
        int cells = heads * headSize;
        for (int layer = 0; layer < layers; layer++) {
            this.layers.add(new Layer(new MagnitudeCounts(cells), new MagnitudeCounts(cells)));
        }
    }

    int layers() {
        return layers.size();
    }

    int heads() {
        return heads;
    }

    int headSize() {
        return headSize;
    }

    /** A cell for each channel, {@code head * headSize + channel}. */
    MagnitudeCounts counts(int layer, KvSide side) {
        return side == KvSide.K ? layers.get(layer).k() : layers.get(layer).v();
    }

    /** What shares a scale of this granularity, TENSOR, HEAD or CHANNEL: one histogram for each of its scales. */
    List<MagnitudeHistogram> histograms(int layer, KvSide side, KvScales.Granularity granularity) {
        int cells = switch (granularity) {
            case TENSOR -> heads * headSize;
            case HEAD -> headSize;
            case CHANNEL -> 1;
            case NONE, DYNAMIC ->
                throw new IllegalArgumentException("Scales of granularity " + granularity
                        + " are not calibrated; calibrated ones go by TENSOR, HEAD or CHANNEL.");
        };
        MagnitudeCounts counts = counts(layer, side);
        return IntStream.range(0, heads * headSize / cells)
                .mapToObj(i -> counts.histogram(i * cells, cells))
                .toList();
    }

    void writeTo(DataOutput out) throws IOException {
        for (Layer layer : layers) {
            layer.k().writeTo(out);
            layer.v().writeTo(out);
        }
    }

    /** Replaces everything by what {@link #writeTo} wrote for the same shape. */
    void readFrom(DataInput in) throws IOException {
        for (Layer layer : layers) {
            layer.k().readFrom(in);
            layer.v().readFrom(in);
        }
    }
}
