package dev.kv8.cli;

import dev.kv8.DType;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/** Element types as the command line spells them: f32, f16, bf16 and the names of the FP8 formats. */
final class ElementType implements ITypeConverter<DType>, Iterable<String> {
    @Override
    public DType convert(String name) {
        for (DType type : DType.values()) {
            if (shortName(type).equals(name)) {
                return type;
            }
        }
        throw new TypeConversionException(
                "'" + name + "' is not an element type; use one of " + String.join(", ", names()) + ".");
    }

    /** For picocli's {@code ${COMPLETION-CANDIDATES}}. */
    @Override
    public Iterator<String> iterator() {
        return names().iterator();
    }

    static String shortName(DType type) {
        return switch (type) {
            case FLOAT32 -> "f32";
            case FLOAT16 -> "f16";
            case BFLOAT16 -> "bf16";
            default -> type.label();
        };
    }

    private static List<String> names() {
        List<String> names = new ArrayList<>();
        for (DType type : DType.values()) {
            names.add(shortName(type));
        }
        return names;
    }
}
