package dev.kv8.llm;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.UUID;
import java.util.concurrent.CountDownLatch;
import org.jspecify.annotations.Nullable;

/**
 * A folder that appears whole or not at all: it is filled under another name beside its place, brought to the disk, and
 * renamed. If that fails, or the JVM is asked to end meanwhile, what there is of it is removed.
 */
final class StagedFolder implements AutoCloseable {
    private static final long CHUNK_BYTES = 64L << 20;

    private final Path target;
    private final Path folder;
    private final CountDownLatch ended = new CountDownLatch(1);
    private final Thread atExit;
    private boolean published;

    private StagedFolder(Path target, Path folder) {
        this.target = target;
        this.folder = folder;
        Thread writer = Thread.currentThread();
        // The writer's channels close under an interrupt, so it comes to close() soon, and does the removing itself.
        atExit = new Thread(() -> {
            writer.interrupt();
            try {
                ended.await();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        });
    }

    /** An empty folder that will become {@code target}, whose parent exists. */
    static StagedFolder beside(Path target) throws IOException {
        Path name = target.getFileName();
        Path folder = target.resolveSibling("." + name + ".partial-" + UUID.randomUUID());
        StagedFolder staged = new StagedFolder(target, folder);
        Runtime.getRuntime().addShutdownHook(staged.atExit);
        try {
            Files.createDirectory(folder);
            return staged;
        } catch (IOException | RuntimeException e) {
            staged.close();
            throw e;
        }
    }

    void createFolder(Path relative) throws IOException {
        Files.createDirectories(folder.resolve(relative));
    }

    void copy(Path source, Path relative) throws IOException {
        try (FileChannel in = FileChannel.open(source, StandardOpenOption.READ);
                FileChannel out = create(relative)) {
            append(in, 0, in.size(), out);
            out.force(true);
        }
    }

    void write(Path relative, byte[] content) throws IOException {
        try (FileChannel out = create(relative)) {
            append(ByteBuffer.wrap(content), out);
            out.force(true);
        }
    }

    /** A new file, which its writer forces to the disk. */
    FileChannel create(Path relative) throws IOException {
        return FileChannel.open(folder.resolve(relative), StandardOpenOption.WRITE, StandardOpenOption.CREATE_NEW);
    }

    static void append(ByteBuffer content, FileChannel out) throws IOException {
        while (content.hasRemaining()) {
            out.write(content);
        }
    }

    static void append(FileChannel in, long begin, long end, FileChannel out) throws IOException {
        for (long position = begin; position < end; ) {
            long copied = in.transferTo(position, Math.min(CHUNK_BYTES, end - position), out);
            if (copied == 0) {
                throw new IOException(
                        "The file ended at " + position + " instead of " + end + " bytes; something is changing it.");
            }
            position += copied;
        }
    }

    /** Gives the folder its name; from here on it stays. */
    void publish() throws IOException {
        Files.walkFileTree(folder, new SimpleFileVisitor<>() {
            @Override
            public FileVisitResult postVisitDirectory(Path directory, @Nullable IOException failure)
                    throws IOException {
                force(directory);
                return super.postVisitDirectory(directory, failure);
            }
        });
        Files.move(folder, target, StandardCopyOption.ATOMIC_MOVE);
        published = true;
        force(target.toAbsolutePath().getParent());
    }

    private static void force(@Nullable Path directory) throws IOException {
        if (directory != null) {
            try (FileChannel channel = FileChannel.open(directory, StandardOpenOption.READ)) {
                channel.force(true);
            }
        }
    }

    /** Removes what was not published. */
    @Override
    public void close() throws IOException {
        try {
            if (!published && Files.exists(folder)) {
                remove();
            }
        } finally {
            ended.countDown();
            forgetExit();
        }
    }

    private void forgetExit() {
        try {
            Runtime.getRuntime().removeShutdownHook(atExit);
        } catch (IllegalStateException e) {
            // The JVM is ending, which is what brought us here.
        }
    }

    private void remove() throws IOException {
        Files.walkFileTree(folder, new SimpleFileVisitor<>() {
            @Override
            public FileVisitResult visitFile(Path file, BasicFileAttributes attributes) throws IOException {
                Files.delete(file);
                return FileVisitResult.CONTINUE;
            }

            @Override
            public FileVisitResult postVisitDirectory(Path directory, @Nullable IOException failure)
                    throws IOException {
                Files.delete(directory);
                return super.postVisitDirectory(directory, failure);
            }
        });
    }
}
