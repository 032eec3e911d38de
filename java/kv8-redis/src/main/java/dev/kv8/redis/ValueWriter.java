package dev.kv8.redis;

import io.lettuce.core.protocol.CommandEncoder;
import io.lettuce.core.protocol.RedisCommand;
import io.netty.buffer.ByteBuf;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelOutboundHandlerAdapter;
import io.netty.channel.ChannelPromise;
import java.util.Collection;
import java.util.Iterator;
import java.util.List;

/**
 * Sends the values of SETs from the frames that they are in. Decision: Lettuce's encoder copies all commands of a batch into one buffer,
 * which grows as it is filled; a store of a MiB was copied twice by that before the kernel copied it. Here only what is around the
 * values is copied, and Netty hands frames and that to the socket in one gathering write. All other commands go to the encoder.
 *
 * <p>A batch's promise is that of its last write: writes of a connection end in their order.
 */
@SuppressWarnings("FutureReturnValueIgnored") // what fails is told to the batch's promise, and closes the connection
final class ValueWriter extends ChannelOutboundHandlerAdapter {
    /** Of what surrounds a value. */
    private static final int MOST_AROUND = 256;

    @Override
    public void write(ChannelHandlerContext ctx, Object message, ChannelPromise promise) {
        Collection<?> commands = message instanceof Collection<?> batch ? batch : List.of(message);
        if (commands.stream().noneMatch(ValueWriter::hasValue)) {
            ctx.write(message, promise);
            return;
        }
        for (Iterator<?> each = commands.iterator(); each.hasNext(); ) {
            Object command = each.next();
            ChannelPromise end = each.hasNext() ? ctx.newPromise() : promise;
            if (command instanceof RedisCommand<?, ?, ?> set && set.getArgs() instanceof SetPart part) {
                // The encoder takes every message for a command of its own, so what is encoded goes round it.
                write(ctx.pipeline().context(CommandEncoder.class), part, end);
            } else {
                ctx.write(command, end);
            }
        }
    }

    private static boolean hasValue(Object command) {
        return command instanceof RedisCommand<?, ?, ?> set && set.getArgs() instanceof SetPart;
    }

    private static void write(ChannelHandlerContext encoder, SetPart part, ChannelPromise end) {
        ByteBuf value = part.value();
        ByteBuf around = encoder.alloc().ioBuffer(MOST_AROUND);
        for (byte[] bytes : part.before(value.readableBytes())) {
            around.writeBytes(bytes);
        }
        ByteBuf before = around.readRetainedSlice(around.readableBytes());
        around.writeBytes(part.after());
        encoder.write(before);
        encoder.write(value).addListener(done -> part.wrote());
        encoder.write(around, end);
    }
}
