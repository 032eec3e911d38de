package dev.kv8.cli;

import dev.kv8.llm.ScaleMode;
import java.util.stream.Stream;

/** Where an evaluated cache's scales come from, by the names that {@link ScaleMode} has. */
final class ScaleModes extends OptionValue<ScaleMode> {
    ScaleModes() {
        super(
                ScaleMode::parse,
                Stream.of(ScaleMode.values()).map(ScaleMode::label).toList());
    }
}
