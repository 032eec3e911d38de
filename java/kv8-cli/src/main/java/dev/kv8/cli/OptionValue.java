package dev.kv8.cli;

import java.util.Iterator;
import java.util.List;
import java.util.function.Function;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/** Reads an option's text, and tells picocli the names that {@code ${COMPLETION-CANDIDATES}} stands for. */
abstract class OptionValue<T> implements ITypeConverter<T>, Iterable<String> {
    private final Function<String, T> parser;
    private final List<String> names;

    /**
     * What a parser takes.
     *
     * @param parser throws {@link IllegalArgumentException}, whose message says what is allowed
     * @param names that it knows; none where there are too many
     */
    OptionValue(Function<String, T> parser, List<String> names) {
        this.parser = parser;
        this.names = names;
    }

    /**
     * One of some values, by its name.
     *
     * @param what a value is, with its article
     */
    OptionValue(String what, List<T> values, Function<T, String> name) {
        names = values.stream().map(name).toList();
        parser = text -> {
            int index = names.indexOf(text);
            if (index < 0) {
                throw new IllegalArgumentException(
                        "'" + text + "' is not " + what + "; use one of " + String.join(", ", names) + ".");
            }
            return values.get(index);
        };
    }

    @Override
    public final T convert(String text) {
        try {
            return parser.apply(text);
        } catch (IllegalArgumentException e) {
            throw new TypeConversionException(e.getMessage());
        }
    }

    @Override
    public final Iterator<String> iterator() {
        return names.iterator();
    }
}
