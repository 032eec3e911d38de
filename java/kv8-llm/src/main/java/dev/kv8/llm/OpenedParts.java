package dev.kv8.llm;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;

/** What was opened one after the other, to be closed in reverse: all of it, also when a part of it can't be. */
final class OpenedParts implements AutoCloseable {
    private final List<Runnable> closers = new ArrayList<>();

    <T> T keep(T part, Consumer<T> closer) {
        closers.add(() -> closer.accept(part));
        return part;
    }

    @Override
    public void close() {
        RuntimeException failure = null;
        for (int i = closers.size() - 1; i >= 0; i--) {
            try {
                closers.get(i).run();
            } catch (RuntimeException e) {
                if (failure == null) {
                    failure = e;
                } else {
                    failure.addSuppressed(e);
                }
            }
        }
        closers.clear();
        if (failure != null) {
            throw failure;
        }
    }
}
