package dev.kv8.cli;

import dev.kv8.DType;
import java.util.stream.Stream;

/** The types that a model's weights may have. */
final class ModelDType extends OptionValue<DType> {
    ModelDType() {
        super(
                "a model's type",
                Stream.of(DType.values()).filter(type -> !type.isFp8()).toList(),
                DType::label);
    }
}
