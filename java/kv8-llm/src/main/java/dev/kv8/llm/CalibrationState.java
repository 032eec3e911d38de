package dev.kv8.llm;

import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.channels.Channels;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.zip.CRC32;
import java.util.zip.CheckedOutputStream;
import java.util.zip.Deflater;
import java.util.zip.DeflaterOutputStream;
import java.util.zip.InflaterInputStream;
import org.jspecify.annotations.Nullable;

/**
 * A calibration's state in a file, from which an interrupted one goes on: magic number, version, what it belongs to (digests
 * of model and data, settings), how far it is, the counts (deflated), and a CRC-32 of all that. The file appears whole or not
 * at all.
 */
final class CalibrationState {
    private static final long MAGIC = 0x6b76_3863_616c_6962L; // kv8calib
    private static final int VERSION = 1;
    private static final int BUFFER = 1 << 16;

    private final Path file;
    private final Map<String, String> identity;

    /** {@code identity}: what must be the same for the counts to be of use, by names that a user knows. */
    CalibrationState(Path file, Map<String, String> identity) {
        this.file = file.toAbsolutePath();
        this.identity = identity;
    }

    /** How far a calibration is. */
    record Position(int samples, long tokens) {}

    /** Replaces the file. */
    void save(Position position, LayerMagnitudes counts) {
        Path part = file.resolveSibling(
                file.getFileName() + ".part-" + ProcessHandle.current().pid());
        try {
            try (FileChannel channel = FileChannel.open(
                    part, StandardOpenOption.CREATE, StandardOpenOption.TRUNCATE_EXISTING, StandardOpenOption.WRITE)) {
                write(channel, position, counts);
                channel.force(true);
            }
            Files.move(part, file, StandardCopyOption.REPLACE_EXISTING, StandardCopyOption.ATOMIC_MOVE);
        } catch (IOException e) {
            throw new CalibrationException(
                    "The state of the calibration can't be kept in " + file + ": " + e.getMessage()
                            + ". Make room there, or keep it elsewhere.",
                    e);
        } finally {
            part.toFile().delete();
        }
    }

    private void write(FileChannel channel, Position position, LayerMagnitudes counts) throws IOException {
        OutputStream buffered = new BufferedOutputStream(Channels.newOutputStream(channel), BUFFER);
        CheckedOutputStream checked = new CheckedOutputStream(buffered, new CRC32());
        DataOutputStream out = new DataOutputStream(checked);
        out.writeLong(MAGIC);
        out.writeInt(VERSION);
        out.writeInt(identity.size());
        for (Map.Entry<String, String> entry : identity.entrySet()) {
            out.writeUTF(entry.getKey());
            out.writeUTF(entry.getValue());
        }
        out.writeInt(position.samples());
        out.writeLong(position.tokens());
        Deflater deflater = new Deflater(Deflater.BEST_SPEED);
        try {
            DeflaterOutputStream packed = new DeflaterOutputStream(out, deflater, BUFFER);
            DataOutputStream values = new DataOutputStream(new BufferedOutputStream(packed, BUFFER));
            counts.writeTo(values);
            values.flush();
            packed.finish();
        } finally {
            deflater.end();
        }
        out.writeLong(checked.getChecksum().getValue());
        out.flush();
    }

    /**
     * Reads the file into {@code counts}.
     *
     * @return empty when there is no file
     * @throws CalibrationException when it is damaged, or belongs to something else: then the message says what differs
     */
    Optional<Position> load(LayerMagnitudes counts) {
        try {
            checkDamage();
            try (DataInputStream in = open()) {
                return Optional.of(read(in, counts));
            }
        } catch (NoSuchFileException e) {
            return Optional.empty();
        } catch (EOFException e) {
            throw damaged("it ends too early", e);
        } catch (IOException e) {
            throw new CalibrationException("The state " + file + " can't be read: " + e.getMessage(), e);
        }
    }

    private DataInputStream open() throws IOException {
        return new DataInputStream(new BufferedInputStream(Files.newInputStream(file), BUFFER));
    }

    /** All bytes but the last eight against those. */
    private void checkDamage() throws IOException {
        long remaining = Files.size(file) - Long.BYTES;
        CRC32 crc = new CRC32();
        byte[] buffer = new byte[BUFFER];
        try (DataInputStream in = open()) {
            if (remaining < Long.BYTES || in.readLong() != MAGIC) {
                throw damaged("it is no state of a calibration", null);
            }
        }
        try (DataInputStream in = open()) {
            while (remaining > 0) {
                int count = (int) Math.min(buffer.length, remaining);
                in.readFully(buffer, 0, count);
                crc.update(buffer, 0, count);
                remaining -= count;
            }
            if (in.readLong() != crc.getValue()) {
                throw damaged("its checksum is wrong", null);
            }
        }
    }

    private Position read(DataInputStream in, LayerMagnitudes counts) throws IOException {
        in.readLong();
        int version = in.readInt();
        if (version != VERSION) {
            throw new CalibrationException("The state " + file + " is of version " + version
                    + ", this kv8 reads version " + VERSION + ". Delete it and calibrate from the beginning.");
        }
        Map<String, String> stored = new LinkedHashMap<>();
        for (int entries = in.readInt(); entries > 0; entries--) {
            stored.put(in.readUTF(), in.readUTF());
        }
        checkIdentity(stored);
        Position position = new Position(in.readInt(), in.readLong());
        counts.readFrom(new DataInputStream(new BufferedInputStream(new InflaterInputStream(in), BUFFER)));
        return position;
    }

    private void checkIdentity(Map<String, String> stored) {
        List<String> differences = new ArrayList<>();
        identity.forEach((name, now) -> {
            String then = stored.getOrDefault(name, "unknown");
            if (!then.equals(now)) {
                differences.add(name + " was " + then + ", is " + now);
            }
        });
        if (!differences.isEmpty()) {
            throw new CalibrationException("The state " + file + " is of another calibration: "
                    + String.join("; ", differences) + ". Calibrate with what it was begun with, or delete it and begin"
                    + " anew.");
        }
    }

    private CalibrationException damaged(String why, @Nullable Throwable cause) {
        String message = "The state " + file + " is damaged: " + why + ". Delete it and calibrate from the beginning.";
        return cause == null ? new CalibrationException(message) : new CalibrationException(message, cause);
    }
}
