package dev.kv8.llm;

/**
 * One turn of a conversation.
 *
 * @param role who speaks: system, user, assistant, or what else the model's template knows
 * @param content what is said
 */
public record ChatMessage(String role, String content) {}
