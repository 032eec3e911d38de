package dev.kv8.natives;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.bytedeco.javacpp.Loader;

/** Facts about the process that decide whether native code can be loaded, read without any native code of our own. */
final class Host {
    private static final Pattern GLIBC_BANNER = Pattern.compile("GNU C Library [^\\x00]{0,80}? version (\\d+\\.\\d+)");

    private Host() {}

    /** In JavaCPP's spelling, for instance linux-x86_64. */
    static String platform() {
        return Loader.getPlatform();
    }

    /** "glibc 2.36", "musl" or "unknown". */
    static String libc() {
        List<String> maps = lines(Path.of("/proc/self/maps"));
        if (isMusl(maps)) {
            return "musl";
        }
        return maps.stream()
                .map(Host::mappedFile)
                .filter(file -> file.matches(".*/libc(\\.so\\.6|-2\\.\\d+\\.so)"))
                .findFirst()
                .map(Path::of)
                .map(Host::glibcVersion)
                .orElse("unknown");
    }

    static boolean isMusl() {
        return isMusl(lines(Path.of("/proc/self/maps")));
    }

    static boolean isMusl(List<String> maps) {
        return maps.stream().anyMatch(line -> line.contains("/ld-musl-"));
    }

    private static String mappedFile(String line) {
        int slash = line.indexOf('/');
        return slash < 0 ? "" : line.substring(slash);
    }

    /** glibc carries its version as text; asking the library itself would need native code. */
    private static String glibcVersion(Path library) {
        try {
            Matcher banner = GLIBC_BANNER.matcher(new String(Files.readAllBytes(library), StandardCharsets.ISO_8859_1));
            return banner.find() ? "glibc " + banner.group(1) : "glibc of unknown version";
        } catch (IOException e) {
            return "glibc of unknown version";
        }
    }

    /** Whether this code may call native methods: "granted", "denied", or that this JDK does not restrict it. */
    static String nativeAccess() {
        if (Runtime.version().feature() < 22) {
            return "not restricted by this JDK";
        }
        try {
            Object enabled = Module.class.getMethod("isNativeAccessEnabled").invoke(Loader.class.getModule());
            return Boolean.TRUE.equals(enabled) ? "granted" : "not granted: JDK warns, or refuses if told to deny";
        } catch (ReflectiveOperationException e) {
            return "unknown: " + e;
        }
    }

    /** The flag that grants native access to kv8 as it is loaded here. */
    static String nativeAccessFlag() {
        Module javacpp = Loader.class.getModule();
        Module natives = Host.class.getModule();
        return javacpp.isNamed() && natives.isNamed()
                ? "--enable-native-access=" + javacpp.getName() + "," + natives.getName()
                : "--enable-native-access=ALL-UNNAMED";
    }

    static List<String> lines(Path file) {
        try {
            return Files.readAllLines(file, StandardCharsets.ISO_8859_1);
        } catch (IOException e) {
            return List.of();
        }
    }
}
