package dev.kv8.cli;

import dev.kv8.EvictionPolicyKind;
import java.util.Iterator;
import java.util.stream.Stream;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/** An eviction policy, by the name that {@link EvictionPolicyKind} has. */
final class EvictionPolicyName implements ITypeConverter<EvictionPolicyKind>, Iterable<String> {
    @Override
    public EvictionPolicyKind convert(String name) {
        try {
            return EvictionPolicyKind.parse(name);
        } catch (IllegalArgumentException e) {
            throw new TypeConversionException(e.getMessage());
        }
    }

    /** For picocli's {@code ${COMPLETION-CANDIDATES}}. */
    @Override
    public Iterator<String> iterator() {
        return Stream.of(EvictionPolicyKind.values())
                .map(EvictionPolicyKind::label)
                .iterator();
    }
}
