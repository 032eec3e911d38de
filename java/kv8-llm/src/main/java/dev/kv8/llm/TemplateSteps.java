package dev.kv8.llm;

import com.hubspot.jinjava.interpret.JinjavaInterpreter;
import com.hubspot.jinjava.lib.tag.ForTag;
import com.hubspot.jinjava.tree.Node;
import com.hubspot.jinjava.tree.TagNode;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.function.BiConsumer;
import org.jspecify.annotations.Nullable;

/**
 * Counts what rendering a chat template once takes, and ends it where no conversation needs as much: loops inside loops would else go on
 * for ever. Steps instead of time, so that what renders on one machine does so on all.
 */
final class TemplateSteps implements BiConsumer<Node, JinjavaInterpreter> {
    /** A conversation of thousands of messages takes some 100000. */
    private static final long MOST = 1 << 20;

    private long taken;

    /** Jinjava is about to render a node. */
    @Override
    public void accept(Node node, JinjavaInterpreter interpreter) {
        take(1);
    }

    private void take(int steps) {
        taken += steps;
        if (taken > MOST) {
            throw new IllegalArgumentException("It takes more than " + MOST + " steps; it has loops inside loops.");
        }
    }

    /** A loop, whose rounds count even when there is nothing to be rendered in it. */
    static final class Loop extends ForTag {
        @Override
        public String renderForCollection(
                TagNode tag, JinjavaInterpreter interpreter, List<String> variables, @Nullable Object items) {
            if (interpreter.getConfig().getProcessors().getNodePreProcessor() instanceof TemplateSteps steps) {
                steps.take(
                        items instanceof Collection<?> list
                                ? list.size()
                                : items instanceof Map<?, ?> map ? map.size() : 1);
            }
            return super.renderForCollection(tag, interpreter, variables, items);
        }
    }
}
