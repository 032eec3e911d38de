package dev.kv8.llm;

import dev.kv8.KvScales;

/** Where an evaluated cache's scales come from: a {@link ScaleMode}, or scales that are given. */
public sealed interface ScaleSource permits ScaleMode, ScaleSource.Given {
    /** A short name for tables. */
    String label();

    /**
     * Scales that the caller has.
     *
     * @param label names them in tables
     * @param scales of the evaluated model's shape
     */
    record Given(String label, KvScales scales) implements ScaleSource {}
}
