package dev.kv8.llm;

import java.util.Arrays;
import java.util.stream.Stream;

/**
 * Filler text with a statement hidden in it, a question about it at the end, and the answer: what a model reads in one go, so
 * that its prediction of the answer can be looked at.
 */
final class NeedlePrompt {
    private final int[] tokens;
    private final int firstAnswer;

    private NeedlePrompt(int[] tokens, int firstAnswer) {
        this.tokens = tokens;
        this.firstAnswer = firstAnswer;
    }

    /**
     * A prompt of exactly {@code context} tokens.
     *
     * @param filler tokens, with what the tokenizer begins every text with
     * @param depth where the statement stands in the filler, 0 at its begin to 1 at its end
     * @param stated the number that the statement gives
     * @param answered the number at the end
     * @throws IllegalArgumentException when the filler is too short, or the context for statement and question
     */
    static NeedlePrompt of(
            Tokenizer tokenizer, int[] filler, int context, double depth, String place, int stated, int answered) {
        int begin = tokenizer.encode("").length;
        int[] statement = withoutBegin(tokenizer, "\nThe secret number of " + place + " is " + stated + ".\n", begin);
        String question = "\nThe secret number of " + place + " is";
        int[] asked = withoutBegin(tokenizer, question, begin);
        int[] answer = withoutBegin(tokenizer, question + " " + answered, begin);
        int common = Arrays.mismatch(asked, answer);
        int answerBegin = common < 0 ? asked.length : common;
        int room = context - begin - statement.length - answer.length;
        if (room < 2) {
            throw new IllegalArgumentException("A context of " + context + " tokens has no room for filler beside "
                    + (context - room) + " tokens of statement and question.");
        }
        if (filler.length < begin + room) {
            throw new IllegalArgumentException("The filler text has " + filler.length + " tokens; a context of "
                    + context + " needs " + (begin + room) + ". Give a longer text.");
        }
        int before = begin + (int) Math.round(depth * room);
        int[] tokens = Stream.of(
                        Arrays.copyOf(filler, before),
                        statement,
                        Arrays.copyOfRange(filler, before, begin + room),
                        answer)
                .flatMapToInt(Arrays::stream)
                .toArray();
        return new NeedlePrompt(tokens, tokens.length - answer.length + answerBegin);
    }

    private static int[] withoutBegin(Tokenizer tokenizer, String text, int begin) {
        int[] tokens = tokenizer.encode(text);
        return Arrays.copyOfRange(tokens, begin, tokens.length);
    }

    /** All of it; not a copy. */
    int[] tokens() {
        return tokens;
    }

    /** Index of the answer's first token; the others follow up to the end. */
    int firstAnswer() {
        return firstAnswer;
    }

    EvaluationWindows.Window window() {
        return new EvaluationWindows.Window(0, tokens.length, firstAnswer);
    }
}
