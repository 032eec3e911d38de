package dev.kv8.llm;

/** K or V of a layer. */
enum KvSide {
    K,
    V
}
