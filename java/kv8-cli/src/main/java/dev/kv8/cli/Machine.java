package dev.kv8.cli;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.kv8.DeviceInfo;
import java.io.IOException;
import java.util.Locale;

/** What a benchmark says of the machine that it ran on. */
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
        generator.writeObjectFieldStart("machine");
        generator.writeStringField("name", device.name());
        generator.writeStringField("isa", device.arch());
        generator.writeNumberField("threads", device.threads());
        generator.writeEndObject();
    }
}
