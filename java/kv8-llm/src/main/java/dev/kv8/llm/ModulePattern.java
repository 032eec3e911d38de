package dev.kv8.llm;

import dev.kv8.llm.internal.JsonMembers;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Predicate;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;

/** An entry of a list of modules that a quantizer leaves alone. */
final class ModulePattern {
    private static final String REGEX = "re:";
    private static final int MAX_CHARACTERS = 1000;
    /** Far more than a name and an expression of any use need: some expressions try the same again and again. */
    private static final int MAX_STEPS = 1 << 20;

    private final Predicate<String> matches;

    private ModulePattern(Predicate<String> matches) {
        this.matches = matches;
    }

    /**
     * compressed-tensors' syntax: a module's whole name, or {@code re:} and an expression that its beginning must match.
     *
     * @throws CheckpointException naming an expression that is not valid
     */
    static ModulePattern compressedTensors(String entry) {
        return entry.startsWith(REGEX) ? regex(entry) : new ModulePattern(entry::equals);
    }

    /** Quark's syntax: a {@link #glob}, or {@code re:} as above. */
    static ModulePattern quark(String entry) {
        return entry.startsWith(REGEX) ? regex(entry) : glob(entry);
    }

    private static ModulePattern regex(String entry) {
        return compiled(entry, entry.substring(REGEX.length()), Matcher::lookingAt);
    }

    private static ModulePattern compiled(String entry, String regex, Predicate<Matcher> test) {
        if (entry.length() > MAX_CHARACTERS) {
            throw new CheckpointException("The pattern \"" + JsonMembers.shown(entry) + "\" has " + entry.length()
                    + " characters; it may have at most " + MAX_CHARACTERS + ".");
        }
        try {
            Pattern pattern = Pattern.compile(regex);
            return new ModulePattern(name -> test.test(pattern.matcher(new CountedText(entry, name))));
        } catch (PatternSyntaxException e) {
            throw new CheckpointException(
                    "The pattern \"" + entry + "\" is not a valid regular expression: " + e.getDescription() + ".", e);
        }
    }

    /** {@code *} and {@code ?} stand for any characters and any one. */
    static ModulePattern glob(String entry) {
        return compiled(entry, Pattern.quote(entry).replace("*", "\\E.*\\Q").replace("?", "\\E.\\Q"), Matcher::matches);
    }

    /** A name that refuses to be looked at for ever. */
    private static final class CountedText implements CharSequence {
        private final String pattern;
        private final String text;
        private int steps;

        CountedText(String pattern, String text) {
            this.pattern = pattern;
            this.text = text;
        }

        @Override
        public char charAt(int index) {
            if (++steps > MAX_STEPS) {
                throw new CheckpointException("The pattern \"" + pattern + "\" takes more than " + MAX_STEPS
                        + " steps to match " + text + "; write it without repetitions inside repetitions.");
            }
            return text.charAt(index);
        }

        @Override
        public int length() {
            return text.length();
        }

        @Override
        public CharSequence subSequence(int start, int end) {
            return text.subSequence(start, end);
        }

        @Override
        public String toString() {
            return text;
        }
    }

    boolean matches(String module) {
        return matches.test(module);
    }

    /** The layers whose attention module compressed-tensors' {@code ignore} list names, ascending. */
    static Set<Integer> ignoredAttention(List<String> ignore, int layers) {
        List<ModulePattern> patterns =
                ignore.stream().map(ModulePattern::compressedTensors).toList();
        Set<Integer> result = new LinkedHashSet<>();
        for (int layer = 0; layer < layers; layer++) {
            String module = new LayerNames(layer).attentionModule();
            if (patterns.stream().anyMatch(pattern -> pattern.matches(module))) {
                result.add(layer);
            }
        }
        return result;
    }
}
