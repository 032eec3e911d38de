package dev.kv8.cli;

import dev.kv8.llm.CacheSetting;
import java.util.List;

/** What a cache stores K and V in: one dtype, or two as {@code k:v}. */
final class CacheSides extends OptionValue<CacheSetting> {
    CacheSides() {
        super(CacheSetting::parse, List.of());
    }
}
