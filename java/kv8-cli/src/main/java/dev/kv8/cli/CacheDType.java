package dev.kv8.cli;

import dev.kv8.KvCacheDType;
import java.util.stream.Stream;

/** What a cache stores, by the names that {@link KvCacheDType} has. */
final class CacheDType extends OptionValue<KvCacheDType> {
    CacheDType() {
        super(
                KvCacheDType::parse,
                Stream.of(KvCacheDType.values()).map(KvCacheDType::label).toList());
    }
}
