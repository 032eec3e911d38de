package dev.kv8.server;

import dev.kv8.llm.Completion;
import dev.kv8.llm.TextChunk;
import java.util.List;

/** The JSON of an endpoint's answers. One for each answer; for use by one thread. */
interface ReplyFormat {
    /** The whole answer, from the choices of each prompt. */
    String whole(List<List<Completion>> answers, Usage usage);

    /** Events that a stream begins with. */
    List<String> beginning();

    /**
     * An event of a stream.
     *
     * @param choice over all prompts
     */
    String chunk(int choice, TextChunk chunk);

    /** The event with the numbers of tokens. */
    String usage(Usage usage);
}
