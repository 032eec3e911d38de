package dev.kv8;

import java.util.Arrays;

/**
 * The scales of a model's FP8 cache by layer, K and V apart: {@code value = decode(code) * scale}. Immutable.
 *
 * <p>A scale is finite, positive and normal, and so is its reciprocal; anything else is refused with the layer's name. Layers
 * stored in 16 or 32 bits have no scales: what is given for them is not used.
 */
public final class KvScales {
    private final LayerScales[] layers;

    private KvScales(LayerScales[] layers) {
        this.layers = layers;
    }

    /** What shares one scale. */
    public enum Granularity {
        /** No scale: 1.0. */
        NONE,
        /** One for all of K or V. */
        TENSOR,
        /** One for each head. */
        HEAD,
        /** One for each channel of each head. */
        CHANNEL,
        /** One for each token and head, computed when it is written and stored beside it. */
        DYNAMIC
    }

    /** The scales of one layer. */
    public record LayerScales(Side k, Side v) {
        /** 1.0 for both. */
        public static final LayerScales NONE = new LayerScales(Side.NONE, Side.NONE);

        /** Computed at each write for both. */
        public static final LayerScales DYNAMIC = new LayerScales(Side.DYNAMIC, Side.DYNAMIC);

        void check(int layer, int kvHeads, int headSize) {
            k.check("k_scale of layer " + layer, kvHeads, headSize);
            v.check("v_scale of layer " + layer, kvHeads, headSize);
        }
    }

    /** The scales of K or of V of one layer. Their values are checked where the layer is known: by builders and caches. */
    public static final class Side {
        /** 1.0. */
        public static final Side NONE = new Side(Granularity.NONE);

        /** Computed at each write. */
        public static final Side DYNAMIC = new Side(Granularity.DYNAMIC);

        private final Granularity granularity;
        private final float[] values;

        private Side(Granularity granularity, float... values) {
            this.granularity = granularity;
            this.values = values.clone();
        }

        public static Side tensor(float scale) {
            return new Side(Granularity.TENSOR, scale);
        }

        /** {@code [kvHeads]} */
        public static Side head(float... scales) {
            return new Side(Granularity.HEAD, scales);
        }

        /** {@code [kvHeads][headSize]}, flat */
        public static Side channel(float... scales) {
            return new Side(Granularity.CHANNEL, scales);
        }

        public Granularity granularity() {
            return granularity;
        }

        /** A copy: of length 0, 1, {@code kvHeads} or {@code kvHeads * headSize} by granularity. */
        public float[] values() {
            return values.clone();
        }

        /** The static scale of a channel; 1.0 without static scales. */
        public float at(int head, int channel, int headSize) {
            return switch (granularity) {
                case NONE, DYNAMIC -> 1.0f;
                case TENSOR -> values[0];
                case HEAD -> values[head];
                case CHANNEL -> values[head * headSize + channel];
            };
        }

        private void check(String what, int kvHeads, int headSize) {
            int expected = switch (granularity) {
                case NONE, DYNAMIC -> 0;
                case TENSOR -> 1;
                case HEAD -> kvHeads;
                case CHANNEL -> kvHeads * headSize;
            };
            if (values.length != expected) {
                throw new IllegalArgumentException(what + " has " + values.length + " values; with granularity "
                        + granularity + ", " + kvHeads + " KV heads and head size " + headSize + " it needs " + expected
                        + ".");
            }
            for (int i = 0; i < values.length; i++) {
                if (isUsable(values[i])) {
                    continue;
                }
                String place = switch (granularity) {
                    case HEAD -> ", head " + i;
                    case CHANNEL -> ", head " + i / headSize + ", channel " + i % headSize;
                    case NONE, DYNAMIC, TENSOR -> "";
                };
                checkScale(values[i], what + place);
            }
        }

        @Override
        public boolean equals(Object other) {
            return other instanceof Side side && side.granularity == granularity && Arrays.equals(side.values, values);
        }

        @Override
        public int hashCode() {
            return 31 * granularity.hashCode() + Arrays.hashCode(values);
        }

        @Override
        public String toString() {
            return switch (granularity) {
                case NONE, DYNAMIC -> granularity.toString();
                case TENSOR, HEAD -> granularity + Arrays.toString(values);
                case CHANNEL -> granularity + "[" + values.length + " values]";
            };
        }
    }

    /** 1.0 everywhere. */
    public static KvScales none(int layers) {
        return uniform(layers, LayerScales.NONE);
    }

    /** Every layer's scales are computed at each write, by token and head. */
    public static KvScales dynamic(int layers) {
        return uniform(layers, LayerScales.DYNAMIC);
    }

    private static KvScales uniform(int layers, LayerScales scales) {
        LayerScales[] all = new LayerScales[checkLayers(layers)];
        Arrays.fill(all, scales);
        return new KvScales(all);
    }

    private static int checkLayers(int layers) {
        if (layers < 1) {
            throw new IllegalArgumentException("Scales need at least one layer, not " + layers + ".");
        }
        return layers;
    }

    /** Layers that are not set have no scales (1.0). */
    public static Builder builder(int layers, int kvHeads, int headSize) {
        return new Builder(layers, kvHeads, headSize);
    }

    /** Those of a layer, from 0. */
    public LayerScales layer(int layer) {
        return layers[layer];
    }

    /** Layers that they are for. */
    public int layers() {
        return layers.length;
    }

    /**
     * The scale with which {@code amax} becomes the format's largest value; 1.0 for an all-zero tensor, never below the
     * smallest normal number.
     *
     * @throws IllegalArgumentException when {@code amax} is NaN, infinite or negative
     */
    public static float scaleFor(float amax, Fp8Format format) {
        if (!(amax >= 0) || Float.isInfinite(amax)) {
            throw new IllegalArgumentException("amax is " + amax
                    + "; a largest magnitude is finite and not negative. Look for NaN or infinity in K and V.");
        }
        return amax == 0 ? 1.0f : Math.max(amax / format.maxValue(), Float.MIN_NORMAL);
    }

    /**
     * Returns a usable scale and refuses any other.
     *
     * @param what names the scale in the message, for instance {@code "k_scale of layer 3"}
     * @throws IllegalArgumentException when the scale or its reciprocal is not a positive, finite, normal number
     */
    public static float checkScale(float scale, String what) {
        if (isUsable(scale)) {
            return scale;
        }
        String fault;
        if (Float.isNaN(scale)) {
            fault = "not a number";
        } else if (scale == 0) {
            fault = "zero";
        } else if (scale < 0) {
            fault = "negative";
        } else if (Float.isInfinite(scale)) {
            fault = "infinite";
        } else if (scale < Float.MIN_NORMAL) {
            fault = "subnormal";
        } else {
            fault = "so large that its reciprocal is subnormal";
        }
        throw new IllegalArgumentException(what + " is " + scale + ", which is " + fault
                + "; a scale is finite, positive and normal, and so is its reciprocal (2^-126 to 2^126).");
    }

    private static boolean isUsable(float scale) {
        return scale >= Float.MIN_NORMAL && scale <= 0x1p126f;
    }

    /** Sets layers one by one; every value is checked at once. */
    public static final class Builder {
        private final LayerScales[] layers;
        private final int kvHeads;
        private final int headSize;

        private Builder(int layers, int kvHeads, int headSize) {
            if (kvHeads < 1 || headSize < 1) {
                throw new IllegalArgumentException("Scales need at least one head and one channel, not " + kvHeads
                        + " heads of " + headSize + ".");
            }
            this.layers = new LayerScales[checkLayers(layers)];
            this.kvHeads = kvHeads;
            this.headSize = headSize;
            Arrays.fill(this.layers, LayerScales.NONE);
        }

        /**
         * Sets one layer's scales.
         *
         * @throws IllegalArgumentException naming the layer, head and channel of a scale that is not usable
         */
        public Builder layer(int layer, LayerScales scales) {
            if (layer < 0 || layer >= layers.length) {
                throw new IllegalArgumentException("Layer " + layer + " does not exist; these scales have layers 0 to "
                        + (layers.length - 1) + ".");
            }
            scales.check(layer, kvHeads, headSize);
            layers[layer] = scales;
            return this;
        }

        public KvScales build() {
            return new KvScales(layers.clone());
        }
    }
}
