package dev.kv8.llm;

import java.beans.FeatureDescriptor;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Iterator;
import java.util.List;
import java.util.function.IntPredicate;
import jinjava.javax.el.ELContext;
import jinjava.javax.el.ELResolver;
import org.jspecify.annotations.Nullable;

/** Methods of Python's strings that chat templates call and Java's strings lack, or have with another meaning. */
final class PythonStrings extends ELResolver {
    @Override
    public @Nullable Object invoke(
            ELContext context, @Nullable Object base, Object method, Class<?>[] types, Object[] arguments) {
        if (!(base instanceof String text)) {
            return null;
        }
        Object result = call(text, String.valueOf(method), arguments);
        if (result != null) {
            context.setPropertyResolved(true);
        }
        return result;
    }

    private static @Nullable Object call(String text, String method, Object[] arguments) {
        if (arguments.length > 1 || (arguments.length == 1 && !(arguments[0] instanceof String))) {
            return null;
        }
        String argument = arguments.length == 0 ? null : (String) arguments[0];
        return switch (method) {
            case "strip" -> stripped(text, argument, true, true);
            case "lstrip" -> stripped(text, argument, true, false);
            case "rstrip" -> stripped(text, argument, false, true);
            case "startswith" -> argument == null ? null : text.startsWith(argument);
            case "endswith" -> argument == null ? null : text.endsWith(argument);
            case "split" -> argument == null || argument.isEmpty() ? null : parts(text, argument);
            default -> null;
        };
    }

    /** Without white space at both ends, as Python sees it. */
    static String stripped(String text) {
        return stripped(text, null, true, true);
    }

    private static String stripped(String text, @Nullable String characters, boolean front, boolean back) {
        IntPredicate goes = characters == null ? PythonStrings::isSpace : c -> characters.indexOf(c) >= 0;
        int from = 0;
        int to = text.length();
        while (front && from < to && goes.test(text.codePointAt(from))) {
            from += Character.charCount(text.codePointAt(from));
        }
        while (back && from < to && goes.test(text.codePointBefore(to))) {
            to -= Character.charCount(text.codePointBefore(to));
        }
        return text.substring(from, to);
    }

    private static boolean isSpace(int c) {
        return Character.isWhitespace(c) || Character.isSpaceChar(c) || c == '\u0085';
    }

    /** All of them, the empty ones too. */
    private static List<String> parts(String text, String separator) {
        List<String> parts = new ArrayList<>();
        int from = 0;
        for (int at = text.indexOf(separator); at >= 0; at = text.indexOf(separator, from)) {
            parts.add(text.substring(from, at));
            from = at + separator.length();
        }
        parts.add(text.substring(from));
        return parts;
    }

    // It has no properties.

    @Override
    public @Nullable Object getValue(ELContext context, @Nullable Object base, @Nullable Object property) {
        return null;
    }

    @Override
    public @Nullable Class<?> getType(ELContext context, @Nullable Object base, @Nullable Object property) {
        return null;
    }

    @Override
    public void setValue(ELContext context, @Nullable Object base, @Nullable Object property, @Nullable Object value) {}

    @Override
    public boolean isReadOnly(ELContext context, @Nullable Object base, @Nullable Object property) {
        return true;
    }

    @Override
    public Iterator<FeatureDescriptor> getFeatureDescriptors(ELContext context, @Nullable Object base) {
        return Collections.emptyIterator();
    }

    @Override
    public @Nullable Class<?> getCommonPropertyType(ELContext context, @Nullable Object base) {
        return null;
    }
}
