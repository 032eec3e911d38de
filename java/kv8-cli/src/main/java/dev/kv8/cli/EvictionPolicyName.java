package dev.kv8.cli;

import dev.kv8.EvictionPolicyKind;
import java.util.stream.Stream;

/** An eviction policy, by the name that {@link EvictionPolicyKind} has. */
final class EvictionPolicyName extends OptionValue<EvictionPolicyKind> {
    EvictionPolicyName() {
        super(
                EvictionPolicyKind::parse,
                Stream.of(EvictionPolicyKind.values())
                        .map(EvictionPolicyKind::label)
                        .toList());
    }
}
