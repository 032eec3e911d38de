package dev.kv8.llm;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;

/** What a constructor has opened so far, to be closed in reverse when its next step fails. */
final class OpenedParts implements AutoCloseable {
    private final List<Runnable> closers = new ArrayList<>();

    <T> T keep(T part, Consumer<T> closer) {
        closers.add(() -> closer.accept(part));
        return part;
    }

    @Override
    public void close() {
        for (int i = closers.size() - 1; i >= 0; i--) {
            closers.get(i).run();
        }
        closers.clear();
    }
}
