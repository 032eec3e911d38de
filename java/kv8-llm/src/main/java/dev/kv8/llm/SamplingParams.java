package dev.kv8.llm;

import java.util.ArrayList;
import java.util.List;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.Set;

/**
 * How tokens are drawn and when a text ends. Immutable; the defaults are vLLM's.
 *
 * <pre>{@code
 * SamplingParams.builder().temperature(0.7).topP(0.8).maxTokens(64).stop("\n\n").seed(1L).build()
 * }</pre>
 */
public final class SamplingParams {
    private static final int MAX_LOGPROBS = 20;
    /** Stops are looked for at each token of each text, so who asks for many would hold all others up. */
    private static final int MAX_STOPS = 64;

    private static final int MAX_STOP_CHARACTERS = 1024;
    private static final int MAX_STOP_TOKENS = 1024;

    private final int n;
    private final double temperature;
    private final double topP;
    private final int topK;
    private final double minP;
    private final double repetitionPenalty;
    private final double presencePenalty;
    private final double frequencyPenalty;
    private final OptionalInt logprobs;
    private final int maxTokens;
    private final List<String> stop;
    private final List<Integer> stopTokenIds;
    /** The same for looking up. */
    private final Set<Integer> stopTokens;

    private final OptionalLong seed;
    private final boolean ignoreEos;

    private SamplingParams(Builder builder) {
        n = builder.n;
        temperature = builder.temperature;
        topP = builder.topP;
        topK = builder.topK;
        minP = builder.minP;
        repetitionPenalty = builder.repetitionPenalty;
        presencePenalty = builder.presencePenalty;
        frequencyPenalty = builder.frequencyPenalty;
        logprobs = builder.logprobs;
        maxTokens = builder.maxTokens;
        stop = List.copyOf(builder.stop);
        stopTokenIds = List.copyOf(builder.stopTokenIds);
        stopTokens = Set.copyOf(builder.stopTokenIds);
        seed = builder.seed;
        ignoreEos = builder.ignoreEos;
    }

    public static Builder builder() {
        return new Builder();
    }

    /** The most probable token each time. */
    public static SamplingParams greedy(int maxTokens) {
        return builder().temperature(0).maxTokens(maxTokens).build();
    }

    /** Texts for each prompt. */
    public int n() {
        return n;
    }

    public double temperature() {
        return temperature;
    }

    public double topP() {
        return topP;
    }

    public int topK() {
        return topK;
    }

    public double minP() {
        return minP;
    }

    public double repetitionPenalty() {
        return repetitionPenalty;
    }

    public double presencePenalty() {
        return presencePenalty;
    }

    public double frequencyPenalty() {
        return frequencyPenalty;
    }

    /** How many of the most probable tokens are reported for each; empty when no probability is. */
    public OptionalInt logprobs() {
        return logprobs;
    }

    public int maxTokens() {
        return maxTokens;
    }

    public List<String> stop() {
        return stop;
    }

    public List<Integer> stopTokenIds() {
        return stopTokenIds;
    }

    boolean stopsAt(int token) {
        return stopTokens.contains(token);
    }

    public OptionalLong seed() {
        return seed;
    }

    public boolean ignoreEos() {
        return ignoreEos;
    }

    /** Each setter refuses a value out of range with {@link IllegalArgumentException}. */
    public static final class Builder {
        private int n = 1;
        private double temperature = 1;
        private double topP = 1;
        private int topK;
        private double minP;
        private double repetitionPenalty = 1;
        private double presencePenalty;
        private double frequencyPenalty;
        private OptionalInt logprobs = OptionalInt.empty();
        private int maxTokens = 16;
        private final List<String> stop = new ArrayList<>();
        private final List<Integer> stopTokenIds = new ArrayList<>();
        private OptionalLong seed = OptionalLong.empty();
        private boolean ignoreEos;

        private Builder() {}

        /**
         * Writes that many texts for each prompt, which is computed once for all. With a seed the first is the one that {@code n} of
         * 1 gives.
         */
        public Builder n(int texts) {
            if (texts < 1) {
                throw bad("n", texts, "1 or more");
            }
            n = texts;
            return this;
        }

        /** Divides the logits; 0 takes the most probable token each time. */
        public Builder temperature(double value) {
            if (!(value >= 0) || value > 100) {
                throw bad("temperature", value, "0 (greedy) to 100");
            }
            temperature = value;
            return this;
        }

        /** Keeps the most probable tokens that together reach this probability. */
        public Builder topP(double value) {
            if (!(value > 0) || value > 1) {
                throw bad("topP", value, "more than 0 and at most 1 (all tokens)");
            }
            topP = value;
            return this;
        }

        /** Keeps that many of the most probable tokens; 0 for all. */
        public Builder topK(int value) {
            if (value < 0) {
                throw bad("topK", value, "0 (all tokens) or more");
            }
            topK = value;
            return this;
        }

        /**
         * Keeps the tokens whose probability, at the temperature, is at least this part of the most probable one's; 0 for all. Applied
         * before {@link #topK} and {@link #topP}.
         */
        public Builder minP(double value) {
            if (!(value >= 0) || value > 1) {
                throw bad("minP", value, "0 (all tokens) to 1 (the most probable)");
            }
            minP = value;
            return this;
        }

        /**
         * Makes tokens that the prompt or the text has already less likely: their logits are divided by this where they are
         * positive, multiplied where negative. More than 1 discourages, less than 1 encourages; 1 does nothing.
         */
        public Builder repetitionPenalty(double value) {
            if (!(value > 0) || value > 100) {
                throw bad("repetitionPenalty", value, "more than 0 and at most 100 (1 does nothing)");
            }
            repetitionPenalty = value;
            return this;
        }

        /** Taken from the logit of each token that the text has already, the prompt not counted; negative encourages. */
        public Builder presencePenalty(double value) {
            presencePenalty = penalty("presencePenalty", value);
            return this;
        }

        /** Taken from a token's logit once for each time that the text has it already, the prompt not counted; negative encourages. */
        public Builder frequencyPenalty(double value) {
            frequencyPenalty = penalty("frequencyPenalty", value);
            return this;
        }

        private static double penalty(String name, double value) {
            if (!(value >= -2) || value > 2) {
                throw bad(name, value, "-2 to 2 (0 does nothing)");
            }
            return value;
        }

        /**
         * Reports the probability of each drawn token, and of that many of the most probable ones, as {@link TokenLogprobs}; 0 for
         * the drawn ones alone.
         */
        public Builder logprobs(int top) {
            if (top < 0 || top > MAX_LOGPROBS) {
                throw bad("logprobs", top, "0 to " + MAX_LOGPROBS);
            }
            logprobs = OptionalInt.of(top);
            return this;
        }

        /** Draws at most that many tokens. */
        public Builder maxTokens(int value) {
            if (value < 1) {
                throw bad("maxTokens", value, "1 or more");
            }
            maxTokens = value;
            return this;
        }

        /**
         * Ends the text where one of these strings appears; it is not part of the text. At most 64 in all, of 1 to 1024 characters each.
         */
        public Builder stop(String... values) {
            for (String value : values) {
                if (value.isEmpty()) {
                    throw new IllegalArgumentException("A stop string is empty; give one with at least one character.");
                }
                if (value.length() > MAX_STOP_CHARACTERS) {
                    throw bad("the length of a stop string", value.length(), "at most " + MAX_STOP_CHARACTERS);
                }
                stop.add(value);
            }
            if (stop.size() > MAX_STOPS) {
                throw bad("the number of stop strings", stop.size(), "at most " + MAX_STOPS);
            }
            return this;
        }

        /** Ends the text after one of these tokens, at most 1024 in all. */
        public Builder stopTokenIds(int... values) {
            for (int value : values) {
                if (value < 0) {
                    throw bad("a stop token id", value, "0 or more");
                }
                stopTokenIds.add(value);
            }
            if (stopTokenIds.size() > MAX_STOP_TOKENS) {
                throw bad("the number of stop token ids", stopTokenIds.size(), "at most " + MAX_STOP_TOKENS);
            }
            return this;
        }

        /** Makes the text repeatable: the same seed draws the same tokens, whatever else runs. Absent: drawn at random. */
        public Builder seed(long value) {
            seed = OptionalLong.of(value);
            return this;
        }

        /** Goes on after the model's end-of-text tokens. */
        public Builder ignoreEos(boolean value) {
            ignoreEos = value;
            return this;
        }

        /** @throws IllegalArgumentException when several texts are asked for without anything random, so that all would be the same */
        public SamplingParams build() {
            if (n > 1 && temperature == 0) {
                throw new IllegalArgumentException("n is " + n
                        + " and temperature 0, which gives the same text " + n
                        + " times; give a temperature above 0, or n of 1.");
            }
            return new SamplingParams(this);
        }

        private static IllegalArgumentException bad(String what, Object value, String allowed) {
            return new IllegalArgumentException(what + " is " + value + "; it must be " + allowed + ".");
        }
    }
}
