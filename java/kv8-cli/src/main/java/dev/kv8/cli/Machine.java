package dev.kv8.cli;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.kv8.DeviceInfo;
import dev.kv8.llm.internal.JsonWriting;
import java.io.IOException;
import java.util.Locale;

/** What a command says of the machine that it measured on. */
record Machine(DeviceInfo device) {
    /** One line for people. */
    String line() {
        return String.format(
                Locale.ROOT,
                "%s, %s (%s), %d threads",
                device.name(),
                device.backend(),
                device.arch(),
                device.threads());
    }

    /** The field "machine". */
    void write(JsonGenerator generator) throws IOException {
        write(generator, none -> {});
    }

    /** The field "machine", with others at its end. */
    void write(JsonGenerator generator, JsonWriting.Fields more) throws IOException {
        generator.writeObjectFieldStart("machine");
        generator.writeStringField("name", device.name());
        generator.writeStringField("backend", device.backend());
        generator.writeStringField("isa", device.arch());
        generator.writeNumberField("threads", device.threads());
        more.write(generator);
        generator.writeEndObject();
    }
}
