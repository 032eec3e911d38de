package dev.kv8.natives;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;

/** What is said for failures that cannot be made to happen on every machine. */
class LoadFailureTest {
    private static final LoadFailure.Facts FINE =
            new LoadFailure.Facts("linux-x86_64", true, "glibc 2.36", Optional.of(Path.of("/cache")), Optional.empty());

    @Test
    void namesTheGlibcThatIsNeeded() {
        Throwable old = new UnsatisfiedLinkError(
                "/cache/libjnikv8.so: /lib/libc.so.6: version `GLIBC_2.34' not found (required by libjnikv8.so)");
        LoadFailure.Facts facts = new LoadFailure.Facts(
                "linux-x86_64", true, "glibc 2.28", Optional.of(Path.of("/cache")), Optional.empty());
        assertThat(LoadFailure.explain(nested(old), facts))
                .hasMessageContaining("needs glibc 2.34 or newer; this system has glibc 2.28");
    }

    @Test
    void namesMusl() {
        LoadFailure.Facts facts =
                new LoadFailure.Facts("linux-x86_64", true, "musl", Optional.of(Path.of("/cache")), Optional.empty());
        assertThat(LoadFailure.explain(new UnsatisfiedLinkError("symbol not found"), facts))
                .hasMessageContaining("needs glibc; this JVM runs on musl");
        assertThat(Host.isMusl(List.of("7f00-7f01 r-xp 00000000 08:01 1  /lib/ld-musl-x86_64.so.1")))
                .isTrue();
        assertThat(Host.isMusl(List.of("7f00-7f01 r-xp 00000000 08:01 1  /lib/x86_64-linux-gnu/libc.so.6")))
                .isFalse();
    }

    @Test
    void namesThePlatformsThereAre() {
        LoadFailure.Facts facts = new LoadFailure.Facts(
                "macosx-arm64", false, "unknown", Optional.of(Path.of("/cache")), Optional.empty());
        assertThat(LoadFailure.explain(new UnsatisfiedLinkError("no jnikv8"), facts))
                .hasMessageContaining("native code for linux-x86_64, not for macosx-arm64");
    }

    @Test
    void keepsTheLinkersTextOfAnythingElse() {
        assertThat(LoadFailure.explain(nested(new UnsatisfiedLinkError("file too short")), FINE))
                .hasMessageContaining("file too short")
                .hasMessageContaining("delete JavaCPP's cache directory")
                .hasRootCauseMessage("file too short");
    }

    @Test
    void findsTheMountOfADirectory() {
        List<String> mounts = List.of(
                "/dev/vda / ext4 rw 0 0",
                "tmpfs /tmp tmpfs rw,nosuid,noexec 0 0",
                "tmpfs /tmp/with\\040blank tmpfs rw 0 0",
                "overlay /tmpfiles overlay rw 0 0");
        assertThat(CacheDirectory.mountOf(Path.of("/tmp/kv8/cache"), mounts))
                .contains(new CacheDirectory.Mount("/tmp", "tmpfs", "rw,nosuid,noexec"));
        assertThat(CacheDirectory.mountOf(Path.of("/tmp/with blank/cache"), mounts))
                .map(CacheDirectory.Mount::options)
                .contains("rw");
        assertThat(CacheDirectory.mountOf(Path.of("/home/me"), mounts))
                .map(CacheDirectory.Mount::point)
                .contains("/");
        assertThat(CacheDirectory.noexec(Path.of("/tmp/kv8"), CacheDirectory.mountOf(Path.of("/tmp/kv8"), mounts)))
                .contains("/tmp (tmpfs) is mounted rw,nosuid,noexec")
                .contains("-Dorg.bytedeco.javacpp.cachedir=DIR");
    }

    private static Throwable nested(Throwable cause) {
        UnsatisfiedLinkError headline = new UnsatisfiedLinkError("no jnikv8 in java.library.path");
        headline.initCause(cause);
        return headline;
    }
}
