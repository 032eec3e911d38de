package dev.kv8.cli;

import dev.kv8.BackendUnavailableException;
import dev.kv8.DeviceException;
import dev.kv8.llm.CalibrationException;
import dev.kv8.llm.CheckpointException;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.NoSuchFileException;
import java.nio.file.NotDirectoryException;
import picocli.CommandLine;
import picocli.CommandLine.ExitCode;
import picocli.CommandLine.IExecutionExceptionHandler;
import picocli.CommandLine.IParameterExceptionHandler;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ParseResult;
import picocli.CommandLine.UnmatchedArgumentException;

/** Turns a failure into one line that says what to do, and into the exit code. */
final class CommandErrors implements IParameterExceptionHandler, IExecutionExceptionHandler {
    private final Kv8 root;

    CommandErrors(Kv8 root) {
        this.root = root;
    }

    @Override
    public int handleParseException(ParameterException e, String[] args) {
        CommandLine command = e.getCommandLine();
        PrintWriter err = command.getErr();
        err.println("kv8: " + oneLine(String.valueOf(e.getMessage())).replaceFirst("^Error: ", ""));
        if (!UnmatchedArgumentException.printSuggestions(e, err)) {
            err.println("Try 'kv8" + subcommand(command) + " --help'.");
        }
        if (root.debug) {
            e.printStackTrace(err);
        }
        return ExitCode.USAGE;
    }

    @Override
    public int handleExecutionException(Exception e, CommandLine command, ParseResult parsed) {
        return report(command.getErr(), e);
    }

    int report(PrintWriter err, Throwable failure) {
        err.println("kv8: " + describe(failure));
        if (root.debug) {
            failure.printStackTrace(err);
        }
        return ExitCode.SOFTWARE;
    }

    /** What a user reads: messages of our own exceptions say what to do, others get the words they lack. */
    private static String describe(Throwable failure) {
        if (failure instanceof UncheckedIOException unchecked && unchecked.getCause() != null) {
            return describe(unchecked.getCause());
        }
        if (failure instanceof NoSuchFileException missing) {
            return "There is no file or folder " + missing.getFile() + ".";
        }
        if (failure instanceof AccessDeniedException denied) {
            return "No permission for " + denied.getFile() + ".";
        }
        if (failure instanceof NotDirectoryException file) {
            return file.getFile() + " is not a folder.";
        }
        if (failure instanceof FileAlreadyExistsException existing) {
            return existing.getFile() + " exists and is not a folder.";
        }
        if (failure instanceof OutOfMemoryError) {
            return "Java ran out of memory (" + failure.getMessage() + "); raise it with JAVA_OPTS=-Xmx8g.";
        }
        boolean speaksForItself = failure instanceof IOException
                || failure instanceof IllegalArgumentException
                || failure instanceof IllegalStateException
                || failure instanceof BackendUnavailableException
                || failure instanceof DeviceException
                || failure instanceof CheckpointException
                || failure instanceof CalibrationException;
        String message = failure.getMessage();
        if (speaksForItself && message != null && !message.isBlank()) {
            return oneLine(message);
        }
        return "Unexpected " + failure.getClass().getSimpleName() + (message == null ? "" : ": " + oneLine(message))
                + "; run again with --debug for the stack trace.";
    }

    private static String oneLine(String message) {
        return message.strip().replaceAll("\\s*\\R\\s*", " ");
    }

    private static String subcommand(CommandLine command) {
        return command.getParent() == null ? "" : " " + command.getCommandName();
    }
}
