package dev.kv8.natives;

import dev.kv8.BackendUnavailableException;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Says why native code could not be loaded and what to do. JavaCPP's own errors give one headline for several causes, so the
 * cause is found from the nested messages and from the facts of the machine.
 */
final class LoadFailure {
    /** Platforms with a classifier jar. */
    static final List<String> PLATFORMS = List.of("linux-x86_64");

    private static final Pattern OLD_GLIBC = Pattern.compile("version `GLIBC_(\\d+\\.\\d+)' not found");

    private LoadFailure() {}

    /** What there is to know about the machine when the bridge can't be loaded. */
    record Facts(
            String platform,
            boolean bridgeFound,
            String libc,
            Optional<Path> cacheDirectory,
            Optional<String> cacheProblem) {

        static Facts gather(boolean bridgeFound) {
            Optional<Path> directory = CacheDirectory.path();
            return new Facts(
                    Host.platform(), bridgeFound, Host.libc(), directory, directory.flatMap(CacheDirectory::problem));
        }
    }

    static BackendUnavailableException explain(Throwable failure, Facts facts) {
        return new BackendUnavailableException(message(failure, facts), failure);
    }

    private static String message(Throwable failure, Facts facts) {
        if (!PLATFORMS.contains(facts.platform()) && !facts.bridgeFound()) {
            return "kv8 has native code for " + String.join(", ", PLATFORMS) + ", not for " + facts.platform()
                    + ". Run on one of those platforms.";
        }
        if (facts.libc().equals("musl")) {
            return musl();
        }
        if (has(failure, IllegalCallerException.class)) {
            return "This JVM denies native access to kv8. Start it with " + Host.nativeAccessFlag()
                    + ", or put \"Enable-Native-Access: ALL-UNNAMED\" into the manifest of the application's jar.";
        }
        if (!facts.bridgeFound()) {
            return "kv8's native library for " + facts.platform() + " is not on the class path. Add\n"
                    + Artifacts.snippet(facts.platform()) + "\nor depend on dev.kv8:kv8-platform, which brings it.";
        }
        if (facts.cacheDirectory().isEmpty()) {
            return "JavaCPP finds no directory to extract kv8's native library to: neither -D" + CacheDirectory.PROPERTY
                    + " nor the home directory nor the temporary directory can be written to. Set -D"
                    + CacheDirectory.PROPERTY + "=DIR to one that can be written to and executed from.";
        }
        String linkerText = messages(failure);
        return linkerCause(linkerText, facts.libc(), facts.cacheProblem())
                .orElseGet(
                        () -> "kv8's native library cannot be loaded: " + linkerText
                                + ". If the file is damaged, delete JavaCPP's cache directory; `kv8 doctor` shows where it is.");
    }

    /** What stands behind the dynamic linker's text: an old glibc, or a cache directory that cannot be used. */
    static Optional<String> linkerCause(String linkerText, String libc, Optional<String> cacheProblem) {
        Matcher glibc = OLD_GLIBC.matcher(linkerText);
        if (glibc.find()) {
            return Optional.of("kv8's native library needs glibc " + glibc.group(1) + " or newer; this system has "
                    + libc + ". Run on a newer system (RHEL 9, Ubuntu 22.04, Debian 12 or later).");
        }
        return cacheProblem;
    }

    /** JavaCPP is a module that no automatic module can require, so the module path needs a flag of its own. */
    static String noJavaCpp() {
        return LoadFailure.class.getModule().isNamed()
                ? "kv8 finds no JavaCPP on the module path. Start the JVM with --add-modules org.bytedeco.javacpp, and with"
                        + " javacpp's jar on the module path."
                : "kv8 finds no JavaCPP on the class path. Add org.bytedeco:javacpp, which dev.kv8:kv8-native depends on.";
    }

    static String musl() {
        return "kv8's native library needs glibc; this JVM runs on musl (Alpine Linux). Use an image with glibc, for"
                + " instance debian:12-slim or a JDK image that is not Alpine's.";
    }

    private static boolean has(Throwable failure, Class<? extends Throwable> type) {
        return causes(failure).stream().anyMatch(type::isInstance);
    }

    private static String messages(Throwable failure) {
        return String.join(
                "; ",
                causes(failure).stream()
                        .map(cause -> String.valueOf(cause.getMessage()))
                        .distinct()
                        .toList());
    }

    private static List<Throwable> causes(Throwable failure) {
        return java.util.stream.Stream.iterate(failure, cause -> cause != null, Throwable::getCause)
                .limit(20)
                .toList();
    }
}
