package dev.kv8.llm;

import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Predicate;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;

/** An entry of a list of modules that a quantizer leaves alone. */
final class ModulePattern {
    private static final String REGEX = "re:";

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
        try {
            Pattern pattern = Pattern.compile(entry.substring(REGEX.length()));
            return new ModulePattern(name -> pattern.matcher(name).lookingAt());
        } catch (PatternSyntaxException e) {
            throw new CheckpointException(
                    "The pattern \"" + entry + "\" is not a valid regular expression: " + e.getDescription() + ".", e);
        }
    }

    /** {@code *} and {@code ?} stand for any characters and any one. */
    static ModulePattern glob(String entry) {
        String regex = Pattern.quote(entry).replace("*", "\\E.*\\Q").replace("?", "\\E.\\Q");
        Pattern pattern = Pattern.compile(regex);
        return new ModulePattern(name -> pattern.matcher(name).matches());
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
