package dev.kv8.llm;

/** Why a text ended. */
public enum FinishReason {
    /** An end-of-text token, a stop token or a stop string. */
    STOP,
    /** The wanted number of tokens, the model's longest sequence, or the whole cache was reached. */
    LENGTH,
    /** {@link Generation#cancel} was called, or the model was closed. */
    CANCELLED,
    /** {@link GenerationRequest#timeout} has passed. */
    TIMEOUT
}
