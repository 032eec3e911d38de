package dev.kv8.cli;

import dev.kv8.KvCacheDType;
import java.util.Iterator;
import java.util.stream.Stream;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/** What a cache stores, by the names that {@link KvCacheDType} has. */
final class CacheDType implements ITypeConverter<KvCacheDType>, Iterable<String> {
    @Override
    public KvCacheDType convert(String name) {
        try {
            return KvCacheDType.parse(name);
        } catch (IllegalArgumentException e) {
            throw new TypeConversionException(e.getMessage());
        }
    }

    /** For picocli's {@code ${COMPLETION-CANDIDATES}}. */
    @Override
    public Iterator<String> iterator() {
        return Stream.of(KvCacheDType.values()).map(KvCacheDType::label).iterator();
    }
}
