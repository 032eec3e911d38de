package dev.kv8.llm;

import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A chat template in the Jinja that Jinjava reads. Published templates use two things that it does not: a slice that reverses a list
 * ({@code messages[::-1]}), which becomes a filter, and arithmetic after a name in {@code namespace(…)}, which it only takes in
 * parentheses. Text, comments, strings and raw parts stay as they are.
 */
final class TemplateSource {
    /** Jinjava's parser takes time by the third power of it. */
    private static final int MOST_BRACKETS = 100;

    private static final String REVERSING = "[::-1]";
    private static final String NAMESPACE = "namespace(";
    private static final Pattern RAW = Pattern.compile("\\{%[-+]?\\s*raw\\s*[-+]?%}");
    private static final Pattern END_OF_RAW = Pattern.compile("\\{%[-+]?\\s*endraw\\s*[-+]?%}");
    private static final Pattern NAME = Pattern.compile("\\s*\\w+\\s*=(?!=)");

    private final String source;
    private final StringBuilder out;
    private int at;
    /** Brackets of an expression that are open. */
    private int open;

    private TemplateSource(String source) {
        this.source = source;
        out = new StringBuilder(source.length() + 64);
    }

    /** @throws IllegalArgumentException when an expression has too many brackets inside each other */
    static String forJinjava(String source) {
        TemplateSource template = new TemplateSource(source);
        template.rewrite();
        return template.out.toString();
    }

    private void rewrite() {
        Matcher raw = RAW.matcher(source);
        while (at < source.length()) {
            if (source.startsWith("{#", at)) {
                int end = source.indexOf("#}", at);
                copyTo(end < 0 ? source.length() : end + 2);
            } else if (raw.region(at, source.length()).lookingAt()) {
                Matcher end = END_OF_RAW.matcher(source);
                copyTo(end.find(at) ? end.end() : source.length());
            } else if (source.startsWith("{{", at)) {
                copyTo(at + 2);
                expressionTo("}}");
            } else if (source.startsWith("{%", at)) {
                copyTo(at + 2);
                expressionTo("%}");
            } else {
                copyTo(at + 1);
            }
        }
    }

    private void copyTo(int end) {
        out.append(source, at, end);
        at = end;
    }

    private void expressionTo(String end) {
        open = 0;
        while (at < source.length() && !source.startsWith(end, at)) {
            token();
        }
    }

    /** A string, one of the things to be rewritten, or a character. */
    private void token() {
        char c = source.charAt(at);
        if (c == '\'' || c == '"') {
            copyTo(endOfString(c));
        } else if (source.startsWith(REVERSING, at)) {
            out.append("|reverse");
            at += REVERSING.length();
        } else if (source.startsWith(NAMESPACE, at)
                && !Character.isJavaIdentifierPart(source.charAt(at - 1))) { // a tag's two characters are before it
            copyTo(at + NAMESPACE.length());
            count('(');
            arguments();
        } else {
            count(c);
            copyTo(at + 1);
        }
    }

    private void count(char c) {
        open += "([{".indexOf(c) >= 0 ? 1 : ")]}".indexOf(c) >= 0 ? -1 : 0;
        if (open > MOST_BRACKETS) {
            throw new IllegalArgumentException(
                    "an expression has more than " + MOST_BRACKETS + " brackets inside each other");
        }
    }

    private int endOfString(char quote) {
        int end = at + 1;
        while (end < source.length() && source.charAt(end) != quote) {
            end += source.charAt(end) == '\\' ? 2 : 1;
        }
        return Math.min(end + 1, source.length());
    }

    /** Up to the parenthesis that closes them. */
    private void arguments() {
        Matcher name = NAME.matcher(source);
        while (at < source.length()) {
            boolean named = name.region(at, source.length()).lookingAt();
            if (named) {
                copyTo(name.end());
                out.append('(');
            }
            argument();
            if (named) {
                out.append(')');
            }
            if (at < source.length() && source.charAt(at) == ')') {
                return;
            }
            copyTo(Math.min(at + 1, source.length())); // the comma
        }
    }

    private void argument() {
        int depth = 0;
        while (at < source.length()) {
            char c = source.charAt(at);
            if (depth == 0 && (c == ',' || c == ')')) {
                return;
            }
            if (c == '(' || c == '{' || (c == '[' && !source.startsWith(REVERSING, at))) {
                depth++;
            } else if (c == ')' || c == '}' || c == ']') {
                depth--;
            }
            token();
        }
    }
}
