package dev.kv8.llm;

import java.util.Arrays;

/**
 * Turns tokens into text as they come. A token may hold a part of a UTF-8 character, or look different at the beginning of
 * a text; so each step decodes a few tokens before the new ones as well, takes what the new ones add, and waits while that
 * ends in the middle of a character.
 */
final class TextStream {
    /** Tokens of the prompt that are decoded along, so that the first new token is not taken for a text's beginning. */
    private static final int CONTEXT = 5;

    /**
     * Tokens that wait at most, more than any character has: tokens that say nothing, or bytes that never become a character, would
     * otherwise all be decoded again with each that comes.
     */
    private static final int MOST_WAITING = 16;

    private static final char REPLACEMENT = '\uFFFD';

    private final Tokenizer tokenizer;
    private int[] tokens;
    private int count;
    /** Tokens from here on are decoded. */
    private int from;
    /** Tokens before here are in the text already. */
    private int taken;

    private final StringBuilder text = new StringBuilder();

    TextStream(Tokenizer tokenizer, int[] promptIds) {
        this.tokenizer = tokenizer;
        tokens = Arrays.copyOfRange(promptIds, Math.max(0, promptIds.length - CONTEXT), promptIds.length);
        count = tokens.length;
        taken = count;
    }

    /** Adds a token; the text grows by whole characters, now or with a later token. */
    void add(int token) {
        if (count == tokens.length) {
            tokens = Arrays.copyOf(tokens, Math.max(16, 2 * count));
        }
        tokens[count++] = token;
        take(false);
    }

    /** Takes what still waits, incomplete or not. */
    void finish() {
        take(true);
    }

    /** What the tokens say so far. */
    CharSequence text() {
        return text;
    }

    /** Tokens that are decoded at a time. */
    int window() {
        return count - from;
    }

    /** Where {@code part} begins in the text, at {@code start} or later; -1 if nowhere. Copies nothing. */
    int indexOf(String part, int start) {
        return text.indexOf(part, start);
    }

    private void take(boolean incompleteToo) {
        String before = tokenizer.decode(Arrays.copyOfRange(tokens, from, taken));
        String all = tokenizer.decode(Arrays.copyOfRange(tokens, from, count));
        boolean complete = all.isEmpty() || all.charAt(all.length() - 1) != REPLACEMENT;
        boolean adds = all.length() > before.length();
        if ((adds && (complete || incompleteToo)) || count - taken > MOST_WAITING) {
            if (adds) {
                text.append(all, before.length(), all.length());
            }
            from = taken;
            taken = count;
        }
    }
}
