package dev.kv8.cli;

import dev.kv8.DType;
import java.util.Arrays;
import java.util.Iterator;
import java.util.List;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/** The types that a model's weights may have. */
final class ModelDType implements ITypeConverter<DType>, Iterable<String> {
    @Override
    public DType convert(String name) {
        return Arrays.stream(DType.values())
                .filter(type -> !type.isFp8() && type.label().equals(name))
                .findFirst()
                .orElseThrow(() -> new TypeConversionException(
                        "'" + name + "' is not a model's type; use one of " + String.join(", ", names()) + "."));
    }

    /** For picocli's {@code ${COMPLETION-CANDIDATES}}. */
    @Override
    public Iterator<String> iterator() {
        return names().iterator();
    }

    private static List<String> names() {
        return Arrays.stream(DType.values())
                .filter(type -> !type.isFp8())
                .map(DType::label)
                .toList();
    }
}
