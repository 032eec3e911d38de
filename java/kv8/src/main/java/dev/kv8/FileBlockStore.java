package dev.kv8;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.OpenOption;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.nio.file.attribute.FileAttribute;
import java.nio.file.attribute.FileTime;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ThreadLocalRandom;
import org.jspecify.annotations.Nullable;

/**
 * A tier in a folder, one file for each block: it survives a restart, and being killed at any moment. A file is written under another
 * name, brought to the disk, then renamed, so under its own name it is whole; what is not (a disk may still lie) is found by its
 * checksum and removed.
 *
 * <p>Decision: the index is made anew from the files' names and lengths when a cache is created, and no file is opened for it. A header
 * would say nothing that is not checked again when the block is loaded, and reading them all is most of a start's time.
 *
 * <p>One folder is for one model and one layout: files with another length are removed. Several processes may use it at once; each
 * keeps the limit for the files that it knows of, and finds those of the others. K and V tell much of a conversation, so only their owner
 * may read them, where the file system knows owners: processes that share a folder run as one user. For any thread.
 */
public final class FileBlockStore implements BlockStore {
    private static final String SUFFIX = ".kv8";
    private static final String UNFINISHED = "unfinished";
    private static final Duration OLD = Duration.ofMinutes(10);
    private static final Set<OpenOption> NEW = Set.of(StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE);

    private final Path folder;
    private final Path unfinished;
    private final FileAttribute<?>[] ofFolders;
    private final FileAttribute<?>[] ofFiles;
    private final ByteSize limit;
    private final EvictionPolicyKind eviction;
    private final FrameWriter writer;
    private volatile @Nullable KeyedSlots index;
    private volatile int frameBytes;
    private volatile boolean closed;

    /** Writes a frame to an open file. */
    interface FrameWriter {
        void write(FileChannel channel, ByteBuffer frame) throws IOException;
    }

    private FileBlockStore(Path folder, ByteSize limit, EvictionPolicyKind eviction, FrameWriter writer) {
        this.folder = folder;
        this.unfinished = folder.resolve(UNFINISHED);
        this.ofFolders = forOwner(folder, "rwx------");
        this.ofFiles = forOwner(folder, "rw-------");
        this.limit = limit;
        this.eviction = eviction;
        this.writer = writer;
    }

    private static FileAttribute<?>[] forOwner(Path folder, String permissions) {
        return folder.getFileSystem().supportedFileAttributeViews().contains("posix")
                ? new FileAttribute<?>[] {
                    PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString(permissions))
                }
                : new FileAttribute<?>[0];
    }

    /**
     * Makes the folder if need be, for its owner only. The blocks idle for longest make room, because what comes here has been used twice already.
     *
     * @param limit of all blocks' bytes
     * @throws IOException when the folder can't be made or written to
     */
    public static FileBlockStore open(Path folder, ByteSize limit) throws IOException {
        return open(folder, limit, EvictionPolicyKind.LRU);
    }

    /** As {@link #open(Path, ByteSize)}, with another choice of which blocks make room. */
    public static FileBlockStore open(Path folder, ByteSize limit, EvictionPolicyKind eviction) throws IOException {
        return open(folder, limit, eviction, FileBlockStore::write);
    }

    static FileBlockStore open(Path folder, ByteSize limit, EvictionPolicyKind eviction, FrameWriter writer)
            throws IOException {
        FileBlockStore store = new FileBlockStore(folder, limit, eviction, writer);
        Path parent = folder.toAbsolutePath().getParent();
        if (parent != null) {
            Files.createDirectories(parent); // which is not only for what is in here
        }
        Files.createDirectories(store.unfinished, store.ofFolders);
        if (!Files.isWritable(store.unfinished)) {
            throw new IOException("The folder " + folder + " of a file tier can't be written to.");
        }
        return store;
    }

    @Override
    public String name() {
        return "files";
    }

    @Override
    public synchronized void prepare(int bytes) {
        checkOpen();
        if (index != null && frameBytes != bytes) {
            throw new IllegalArgumentException("The file tier in " + folder + " keeps blocks of " + frameBytes
                    + " bytes for another cache; one of " + bytes + " bytes needs a folder of its own.");
        }
        if (index != null) {
            return;
        }
        long slots = Math.min(limit.bytes() / bytes, BlockPool.MAX_BLOCKS);
        if (slots < 1) {
            throw new IllegalArgumentException("The limit of the file tier in " + folder + " is " + limit
                    + ", but one block takes " + bytes + " bytes.");
        }
        KeyedSlots found = new KeyedSlots((int) slots, eviction);
        try {
            readFolder(found, bytes, (int) slots);
        } catch (IOException e) {
            throw new IllegalArgumentException("The file tier in " + folder + " can't be read: " + e, e);
        }
        frameBytes = bytes;
        index = found;
    }

    private void checkOpen() {
        if (closed) {
            throw new IllegalStateException("The file tier in " + folder + " has been closed.");
        }
    }

    // ---- what is there

    private record Found(BlockKey key, FileTime used) {}

    private void readFolder(KeyedSlots slots, int bytes, int most) throws IOException {
        List<Found> whole = new ArrayList<>();
        Files.walkFileTree(folder, new SimpleFileVisitor<>() {
            @Override
            public FileVisitResult visitFile(Path file, BasicFileAttributes attributes) throws IOException {
                if (unfinished.equals(file.getParent())) {
                    removeIfAbandoned(file, attributes);
                } else if (file.toString().endsWith(SUFFIX)) {
                    BlockKey key = keyOf(file, attributes, bytes);
                    if (key == null) {
                        Files.deleteIfExists(file);
                    } else {
                        whole.add(new Found(key, attributes.lastModifiedTime()));
                    }
                }
                return FileVisitResult.CONTINUE;
            }

            @Override
            public FileVisitResult visitFileFailed(Path file, IOException e) throws IOException {
                if (e instanceof NoSuchFileException) { // another process removed it
                    return FileVisitResult.CONTINUE;
                }
                throw e;
            }
        });
        whole.sort(Comparator.comparing(Found::used));
        for (int i = 0; i < whole.size(); i++) {
            BlockKey key = whole.get(i).key();
            if (i < whole.size() - most) {
                Files.deleteIfExists(file(key));
            } else {
                slots.keep(slots.reserve(), key);
                slots.letGoOfUsed(); // in the order of the files' times
            }
        }
    }

    /** The key by the file's name; null for a file of another length, name or place. Whether it is the block is found by who loads it. */
    private @Nullable BlockKey keyOf(Path file, BasicFileAttributes attributes, int bytes) {
        String name = file.getFileName().toString();
        if (attributes.size() != bytes || name.length() != 2 * BlockKey.BYTES + SUFFIX.length()) {
            return null;
        }
        try {
            BlockKey key = BlockKey.parse(name.substring(0, 2 * BlockKey.BYTES));
            return file(key).equals(file) ? key : null; // not in capitals, nor in another one's folder
        } catch (IllegalArgumentException e) {
            return null;
        }
    }

    /** A process that was killed leaves what it was writing. */
    private static void removeIfAbandoned(Path file, BasicFileAttributes attributes) throws IOException {
        String name = file.getFileName().toString();
        int dash = name.indexOf('-');
        boolean alive = false;
        try {
            alive = dash > 0
                    && ProcessHandle.of(Long.parseLong(name.substring(0, dash))).isPresent();
        } catch (NumberFormatException e) {
            // of another origin: its age decides
        }
        if (!alive
                || attributes
                        .lastModifiedTime()
                        .toInstant()
                        .isBefore(Instant.now().minus(OLD))) {
            Files.deleteIfExists(file);
        }
    }

    private static String fileName(BlockKey key) {
        return key.hex() + SUFFIX;
    }

    private Path file(BlockKey key) {
        String name = fileName(key);
        return folder.resolve(name.substring(0, 2)).resolve(name);
    }

    private KeyedSlots prepared() {
        checkOpen();
        KeyedSlots known = index;
        if (known == null) {
            throw new IllegalStateException("prepare(...) comes first.");
        }
        return known;
    }

    @Override
    public int lookup(List<BlockKey> keys, long deadlineNanos) {
        KeyedSlots known = prepared();
        int found = known.leading(keys);
        while (found < keys.size() && adopt(known, keys.get(found))) {
            found++;
        }
        return found;
    }

    /** Takes over a file that another process wrote. */
    private boolean adopt(KeyedSlots known, BlockKey key) {
        if (known.contains(key)) {
            return true;
        }
        if (!Files.exists(file(key))) {
            return false;
        }
        int slot = reserve(known);
        return slot >= 0 && known.keep(slot, key);
    }

    /** A place for one more file, after the one that makes room has been removed; -1 when all are in use. */
    private int reserve(KeyedSlots known) {
        int slot = known.reserve();
        if (slot >= 0) {
            BlockKey evicted = known.evicted(slot);
            if (evicted != null) {
                remove(evicted);
            }
        }
        return slot;
    }

    private void remove(BlockKey key) {
        try {
            Files.deleteIfExists(file(key));
        } catch (IOException e) {
            // It stays, as a file that is not known here: a later process counts it again.
        }
    }

    // ---- transfers

    @Override
    public void load(BlockTransfer transfer) {
        KeyedSlots known = prepared();
        for (int i = 0; i < transfer.size(); i++) {
            BlockKey key = transfer.key(i);
            int slot = known.hold(key);
            if (slot < 0) {
                transfer.absent(i);
                continue;
            }
            int bytes = -1;
            IOException failure = null;
            try {
                bytes = readFile(file(key), transfer.frame(i), known.timeOfUse());
            } catch (IOException e) {
                failure = e;
            } finally {
                known.used(slot);
            }
            if (bytes >= 0) {
                transfer.done(i, bytes);
            } else if (failure instanceof NoSuchFileException) {
                known.forget(key);
                transfer.absent(i);
            } else {
                transfer.failed(i, failure);
            }
        }
    }

    private static int readFile(Path file, ByteBuffer target, Instant used) throws IOException {
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
            read(channel, target);
        }
        // The order of use survives a restart.
        Files.setLastModifiedTime(file, FileTime.from(used));
        return target.position();
    }

    private static void read(FileChannel channel, ByteBuffer target) throws IOException {
        while (target.hasRemaining() && channel.read(target) >= 0) {
            // until it is full or the file ends
        }
    }

    @Override
    public void store(BlockTransfer transfer) {
        KeyedSlots known = prepared();
        for (int i = 0; i < transfer.size(); i++) {
            BlockKey key = transfer.key(i);
            if (adopt(known, key)) {
                transfer.done(i, frameBytes);
                continue;
            }
            int slot = transfer.frame(i).remaining() == frameBytes ? reserve(known) : -1;
            if (slot < 0) {
                transfer.refused(i);
                continue;
            }
            boolean written = false;
            IOException failure = null;
            try {
                writeFile(key, transfer.frame(i), known.timeOfUse());
                written = true;
            } catch (IOException e) {
                failure = e;
            } finally {
                if (!written) {
                    known.release(slot);
                }
            }
            if (written) {
                known.keep(slot, key);
                transfer.done(i, frameBytes);
            } else if (failure != null && isFull(failure)) { // what is there can still be read
                transfer.refused(i);
            } else {
                transfer.failed(i, failure);
            }
        }
    }

    private void writeFile(BlockKey key, ByteBuffer frame, Instant used) throws IOException {
        Path target = file(key);
        Path temporary = unfinished.resolve(ProcessHandle.current().pid() + "-"
                + Long.toHexString(ThreadLocalRandom.current().nextLong()));
        try {
            try (FileChannel channel = FileChannel.open(temporary, NEW, ofFiles)) {
                writer.write(channel, frame);
                channel.force(false);
            }
            Files.setLastModifiedTime(temporary, FileTime.from(used));
            Files.createDirectories(target.getParent(), ofFolders);
            Files.move(temporary, target, StandardCopyOption.ATOMIC_MOVE);
        } catch (IOException e) {
            Files.deleteIfExists(temporary);
            throw e;
        }
    }

    private static void write(FileChannel channel, ByteBuffer frame) throws IOException {
        while (frame.hasRemaining()) {
            channel.write(frame);
        }
    }

    /** Whether a write failed for lack of room: for files or their number, by the disk or by a quota. */
    private boolean isFull(IOException failure) {
        String message = String.valueOf(failure.getMessage());
        if (message.contains("No space left") || message.contains("uota exceeded")) {
            return true;
        }
        try {
            return Files.getFileStore(folder).getUsableSpace() < 2L * frameBytes;
        } catch (IOException e) {
            return false;
        }
    }

    @Override
    public void forget(BlockKey key) {
        if (prepared().forget(key)) {
            remove(key);
        }
    }

    /** Blocks that are known to be here. */
    public int blocks() {
        KeyedSlots known = index;
        return known == null ? 0 : known.size();
    }

    /** The files stay. */
    @Override
    public synchronized void close() {
        closed = true;
    }
}
