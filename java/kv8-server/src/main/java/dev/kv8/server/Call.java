package dev.kv8.server;

import dev.kv8.llm.GenerationRequest;
import java.util.List;

/**
 * What a client has asked for.
 *
 * @param requests one for each prompt
 * @param samples choices for each prompt; those of the first prompt come first
 * @param stream whether the answer is sent while it is written
 * @param includeUsage whether a stream ends with the numbers of tokens
 * @param promptField of the body, which errors about a prompt name
 * @param format of the answer
 */
record Call(
        List<GenerationRequest> requests,
        int samples,
        boolean stream,
        boolean includeUsage,
        String promptField,
        ReplyFormat format) {}
