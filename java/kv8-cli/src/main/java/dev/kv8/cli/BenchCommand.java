package dev.kv8.cli;

import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** {@code kv8 bench}: the kernels and the engine against each other and against the machine, in one run. */
@Command(
        name = "bench",
        description = "Measure kernels and the engine on the selected backend; ratios are of one run.",
        mixinStandardHelpOptions = true,
        versionProvider = Version.class,
        usageHelpWidth = Kv8.WIDTH,
        synopsisSubcommandLabel = "COMMAND",
        subcommands = {
            BenchAttentionCommand.class,
            BenchCastCommand.class,
            BenchWriteCommand.class,
            BenchMoveCommand.class,
            BenchDecodeCommand.class,
            BenchServeCommand.class
        },
        footer = {"", "Example:", "  kv8 bench attention --kv-cache-dtype bfloat16,fp8 --context 4096"})
final class BenchCommand implements Runnable {
    @Spec
    CommandSpec spec;

    @Override
    public void run() {
        CommandLine commandLine = spec.commandLine();
        throw new ParameterException(
                commandLine,
                "Say what to measure: "
                        + String.join(", ", commandLine.getSubcommands().keySet()) + ".");
    }
}
