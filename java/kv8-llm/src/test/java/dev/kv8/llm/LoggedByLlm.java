package dev.kv8.llm;

import java.util.ArrayList;
import java.util.List;
import java.util.logging.Handler;
import java.util.logging.LogRecord;
import java.util.logging.Logger;

/** The messages that {@link LLM} logs while this is open. */
final class LoggedByLlm extends Handler implements AutoCloseable {
    final List<String> messages = new ArrayList<>();
    private final Logger logger = Logger.getLogger(LLM.class.getName());

    LoggedByLlm() {
        logger.addHandler(this);
    }

    @Override
    public void publish(LogRecord record) {
        messages.add(record.getMessage());
    }

    @Override
    public void flush() {}

    @Override
    public void close() {
        logger.removeHandler(this);
    }
}
