package dev.kv8.cli;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.kv8.ByteSize;
import dev.kv8.DType;
import dev.kv8.DeviceInfo;
import dev.kv8.natives.NativeDiagnostics;
import dev.kv8.natives.NativeDiagnostics.BackendAttempt;
import dev.kv8.natives.NativeDiagnostics.DeviceAttempt;
import java.io.IOException;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Collectors;
import picocli.CommandLine.Command;

/** {@code kv8 doctor}: what works on this machine, and what is missing for the rest. */
@Command(
        name = "doctor",
        description = {
            "Show which backends work on this machine, and what each other one lacks.",
            "The exit code is 0 when the backend that -Dkv.backend or KV8_BACKEND asks for works."
        },
        footer = {"", "Example:", "  kv8 doctor", "  kv8 doctor --json | jq .selected"})
final class DoctorCommand extends Kv8Command {
    private static final int LABEL = 15;

    @Override
    public Integer call() throws IOException {
        NativeDiagnostics diagnostics = NativeDiagnostics.collect();
        String requested = requested(diagnostics.properties());
        Optional<BackendAttempt> selected = diagnostics.backends().stream()
                .filter(attempt -> attempt.works() && isAskedFor(attempt.name(), requested))
                .findFirst();
        if (json) {
            printJson(generator -> write(generator, diagnostics, requested, selected));
        } else {
            print(diagnostics, requested, selected);
        }
        return selected.isPresent() ? 0 : 1;
    }

    private static boolean isAskedFor(String name, String requested) {
        return requested.equals("auto") ? !name.equals("emulator") : requested.equals(name);
    }

    /** The rule of {@link dev.kv8.KvBackend#open()}. */
    private static String requested(Map<String, String> properties) {
        String property = properties.getOrDefault("kv.backend", "").strip();
        String variable = properties.getOrDefault("KV8_BACKEND", "").strip();
        String name = property.isEmpty() ? variable : property;
        return name.isEmpty() ? "auto" : name.toLowerCase(Locale.ROOT);
    }

    private void print(NativeDiagnostics d, String requested, Optional<BackendAttempt> selected) {
        line("kv8", d.version() + ", " + d.platform() + ", " + d.libc());
        line("java", d.java());
        line("processors", Runtime.getRuntime().availableProcessors() + " available to Java");
        line("native access", d.nativeAccess());
        line("library", d.library());
        line(
                "cache",
                d.cacheDirectory()
                        + d.cacheProblem().map(problem -> ": " + problem).orElse(""));
        new TreeMap<>(d.properties()).forEach((name, value) -> line("setting", name + "=" + value));
        d.backends().forEach(this::print);
        line(
                "in use",
                selected.map(BackendAttempt::name).orElse("none")
                        + (requested.equals("auto") ? "" : ", asked for " + requested));
    }

    private void print(BackendAttempt backend) {
        line(
                "backend " + backend.name(),
                backend.device().map(device -> "works: " + describe(device)).orElse(backend.outcome()));
        for (DeviceAttempt device : backend.devices()) {
            if (backend.devices().size() > 1) {
                String text = device.info().map(DoctorCommand::describe).orElse(device.outcome());
                line("  device " + device.ordinal(), text);
            }
        }
    }

    /** Lines stay as they are, however long: a path or an element of a pom.xml is there to be copied. */
    private void line(String label, String text) {
        String indent = " ".repeat(LABEL);
        out().println(label
                + indent.substring(Math.min(label.length(), LABEL - 1))
                + text.strip().replaceAll("\\R", "\n" + indent));
    }

    private static String describe(DeviceInfo device) {
        return device.name() + ", " + device.arch()
                + (device.threads() > 0 ? ", " + device.threads() + " threads" : "")
                + (device.driver().isEmpty() ? "" : ", driver " + device.driver()) + ", "
                + ByteSize.of(device.memoryBytes()) + " memory (" + ByteSize.of(device.freeBytes()) + " free), stores "
                + labels(device.storable()) + ", converts in hardware "
                + (device.nativeFp8().isEmpty() ? "no FP8" : labels(device.nativeFp8()));
    }

    private static String labels(Set<DType> types) {
        return types.stream().sorted().map(DType::label).collect(Collectors.joining(", "));
    }

    private static void write(
            JsonGenerator generator, NativeDiagnostics d, String requested, Optional<BackendAttempt> selected)
            throws IOException {
        generator.writeStringField("version", d.version());
        generator.writeStringField("platform", d.platform());
        generator.writeStringField("libc", d.libc());
        generator.writeStringField("java", d.java());
        generator.writeNumberField("processors", Runtime.getRuntime().availableProcessors());
        generator.writeStringField("native_access", d.nativeAccess());
        generator.writeStringField("library", d.library());
        generator.writeStringField("cache_directory", d.cacheDirectory());
        generator.writeStringField("cache_problem", d.cacheProblem().orElse(null));
        generator.writeObjectFieldStart("settings");
        for (Map.Entry<String, String> setting : new TreeMap<>(d.properties()).entrySet()) {
            generator.writeStringField(setting.getKey(), setting.getValue());
        }
        generator.writeEndObject();
        generator.writeArrayFieldStart("backends");
        for (BackendAttempt attempt : d.backends()) {
            generator.writeStartObject();
            generator.writeStringField("name", attempt.name());
            generator.writeBooleanField("works", attempt.works());
            generator.writeStringField("outcome", attempt.outcome());
            if (attempt.device().isPresent()) {
                generator.writeObjectFieldStart("device");
                write(generator, attempt.device().get());
                generator.writeEndObject();
            }
            generator.writeArrayFieldStart("devices");
            for (DeviceAttempt device : attempt.devices()) {
                write(generator, device);
            }
            generator.writeEndArray();
            generator.writeEndObject();
        }
        generator.writeEndArray();
        generator.writeStringField("requested", requested);
        generator.writeStringField(
                "selected", selected.map(BackendAttempt::name).orElse(null));
    }

    private static void write(JsonGenerator generator, DeviceAttempt device) throws IOException {
        generator.writeStartObject();
        generator.writeNumberField("ordinal", device.ordinal());
        generator.writeBooleanField("works", device.info().isPresent());
        generator.writeStringField("outcome", device.outcome());
        if (device.info().isPresent()) {
            write(generator, device.info().get());
        }
        generator.writeEndObject();
    }

    private static void write(JsonGenerator generator, DeviceInfo device) throws IOException {
        generator.writeStringField("name", device.name());
        generator.writeStringField("arch", device.arch());
        generator.writeStringField("driver", device.driver());
        generator.writeNumberField("threads", device.threads());
        generator.writeNumberField("memory_bytes", device.memoryBytes());
        generator.writeNumberField("free_bytes", device.freeBytes());
        write(generator, "dtypes", device.storable());
        write(generator, "native_fp8", device.nativeFp8());
    }

    private static void write(JsonGenerator generator, String field, Set<DType> types) throws IOException {
        generator.writeArrayFieldStart(field);
        for (DType type : types) {
            generator.writeString(type.label());
        }
        generator.writeEndArray();
    }
}
