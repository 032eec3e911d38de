package dev.kv8.cli;

import dev.kv8.DType;
import java.util.List;

/** Element types as the command line spells them: f32, f16, bf16 and the names of the FP8 formats. */
final class ElementType extends OptionValue<DType> {
    ElementType() {
        super("an element type", List.of(DType.values()), ElementType::shortName);
    }

    static String shortName(DType type) {
        return switch (type) {
            case FLOAT32 -> "f32";
            case FLOAT16 -> "f16";
            case BFLOAT16 -> "bf16";
            default -> type.label();
        };
    }
}
