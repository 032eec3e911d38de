package dev.kv8.llm;

import java.util.List;

/** What one record of a data set holds. */
sealed interface CalibrationSample {
    record Text(String text) implements CalibrationSample {}

    record Chat(List<ChatMessage> messages) implements CalibrationSample {}
}
