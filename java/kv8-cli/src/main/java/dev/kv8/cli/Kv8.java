package dev.kv8.cli;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.PrintWriter;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.ScopeType;

/**
 * The {@code kv8} command. Results go to standard output, everything else to standard error; the exit code is 0 for done, 1
 * for failed, 2 for wrong usage.
 */
@Command(
        name = "kv8",
        description = "An FP8 paged KV cache for LLM inference on the JVM.",
        mixinStandardHelpOptions = true,
        versionProvider = Version.class,
        synopsisSubcommandLabel = "COMMAND",
        usageHelpWidth = Kv8.WIDTH,
        subcommands = {
            DoctorCommand.class,
            GenerateCommand.class,
            ServeCommand.class,
            CalibrateCommand.class,
            EvalCommand.class,
            NeedleCommand.class,
            InspectCommand.class,
            PlanCommand.class,
            ReplayCommand.class,
            CastCommand.class,
            AttendCommand.class,
            BenchCommand.class,
            DemoCommand.class
        },
        footer = {
            "",
            "The backend is chosen by -Dkv.backend=auto|cpu|cuda|rocm (JAVA_OPTS with scripts/kv8) or KV8_BACKEND.",
            "",
            "Example:",
            "  kv8 generate --model tiny-llama --prompt 'In the beginning' --kv-cache-dtype fp8",
            "  kv8 COMMAND --help"
        })
public final class Kv8 {
    /** Columns that help and tables fill. */
    static final int WIDTH = 100;

    @Option(names = "--debug", scope = ScopeType.INHERIT, description = "Print the stack trace of a failure.")
    boolean debug;

    private Kv8() {}

    /** Runs one command and ends the process with its exit code. */
    public static void main(String[] args) {
        Logging.toStandardError();
        System.exit(run(utf8(FileDescriptor.out), utf8(FileDescriptor.err), args));
    }

    /** Text leaves in UTF-8 whatever the locale: JSON must, and a model's text can hold anything. */
    private static PrintWriter utf8(FileDescriptor descriptor) {
        return new PrintWriter(new FileOutputStream(descriptor), true, UTF_8);
    }

    /**
     * Runs one command inside this process.
     *
     * @param out where results go
     * @param err where progress and errors go
     * @return the exit code: 0 done, 1 failed, 2 wrong usage
     */
    public static int run(PrintWriter out, PrintWriter err, String... args) {
        Kv8 root = new Kv8();
        CommandErrors errors = new CommandErrors(root);
        CommandLine commandLine = new CommandLine(root)
                .setOut(out)
                .setErr(err)
                .setCaseInsensitiveEnumValuesAllowed(true)
                .setParameterExceptionHandler(errors)
                .setExecutionExceptionHandler(errors);
        try {
            return commandLine.execute(args);
        } catch (LinkageError | OutOfMemoryError | StackOverflowError e) {
            return errors.report(err, e);
        } finally {
            out.flush();
            err.flush();
        }
    }
}
