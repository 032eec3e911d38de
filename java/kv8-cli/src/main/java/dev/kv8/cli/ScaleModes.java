package dev.kv8.cli;

import dev.kv8.llm.ScaleMode;
import java.util.Iterator;
import java.util.stream.Stream;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/** Where an evaluated cache's scales come from, by the names that {@link ScaleMode} has. */
final class ScaleModes implements ITypeConverter<ScaleMode>, Iterable<String> {
    @Override
    public ScaleMode convert(String name) {
        try {
            return ScaleMode.parse(name);
        } catch (IllegalArgumentException e) {
            throw new TypeConversionException(e.getMessage());
        }
    }

    /** For picocli's {@code ${COMPLETION-CANDIDATES}}. */
    @Override
    public Iterator<String> iterator() {
        return Stream.of(ScaleMode.values()).map(ScaleMode::label).iterator();
    }
}
