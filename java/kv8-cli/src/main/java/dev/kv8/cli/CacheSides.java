package dev.kv8.cli;

import dev.kv8.llm.CacheSetting;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/** What a cache stores K and V in: one dtype, or two as {@code k:v}. */
final class CacheSides implements ITypeConverter<CacheSetting> {
    @Override
    public CacheSetting convert(String dtypes) {
        try {
            return CacheSetting.parse(dtypes);
        } catch (IllegalArgumentException e) {
            throw new TypeConversionException(e.getMessage());
        }
    }
}
