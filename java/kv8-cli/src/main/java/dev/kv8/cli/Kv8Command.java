package dev.kv8.cli;

import com.fasterxml.jackson.core.JsonGenerator;
import dev.kv8.llm.internal.JsonWriting;
import java.io.IOException;
import java.io.PrintWriter;
import java.util.concurrent.Callable;
import java.util.function.Supplier;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** What the commands share: help, {@code --json}, and where output goes. */
@Command(
        mixinStandardHelpOptions = true,
        versionProvider = Version.class,
        usageHelpWidth = Kv8.WIDTH,
        sortOptions = false,
        abbreviateSynopsis = true)
abstract class Kv8Command implements Callable<Integer> {
    @Spec
    CommandSpec spec;

    @Option(names = "--json", description = "Print the result as JSON.")
    boolean json;

    final PrintWriter out() {
        return spec.commandLine().getOut();
    }

    final PrintWriter err() {
        return spec.commandLine().getErr();
    }

    /** Wrong usage that the parser can't see, for instance two options that exclude each other. */
    final ParameterException wrongUsage(String message) {
        return new ParameterException(spec.commandLine(), message);
    }

    final ParameterException wrongUsage(IllegalArgumentException e) {
        return new ParameterException(spec.commandLine(), String.valueOf(e.getMessage()), e);
    }

    /** What options make; the refusal of one is wrong usage. */
    final <T> T fromOptions(Supplier<T> made) {
        try {
            return made.get();
        } catch (IllegalArgumentException e) {
            throw wrongUsage(e);
        }
    }

    final void checkAtLeastOne(String option, int value) {
        if (value < 1) {
            throw wrongUsage(option + " is " + value + "; give 1 or more.");
        }
    }

    /** Prints one JSON object on a line of its own; {@code fields} writes what is inside it. */
    final void printJson(JsonWriting.Fields fields) {
        out().println(JsonWriting.object(fields));
    }

    /** A number, or null where JSON has no word for it. */
    static void writeNumber(JsonGenerator generator, String name, double value) throws IOException {
        if (Double.isFinite(value)) {
            generator.writeNumberField(name, value);
        } else {
            generator.writeNullField(name);
        }
    }
}
