package dev.kv8.natives;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.Properties;

/** The Maven coordinates of the native jars, for messages that say what to add. */
final class Artifacts {
    private Artifacts() {}

    /** The version of this build. */
    static String version() {
        try (InputStream in = Artifacts.class.getResourceAsStream("build.properties")) {
            Properties build = new Properties();
            build.load(in);
            return build.getProperty("version");
        } catch (IOException e) {
            throw new UncheckedIOException("dev/kv8/natives/build.properties cannot be read from kv8-native's jar.", e);
        }
    }

    /** {@code dev.kv8:kv8-native:VERSION:CLASSIFIER} */
    static String coordinates(String classifier) {
        return "dev.kv8:kv8-native:" + version() + ":" + classifier;
    }

    /** The dependency as it stands in a pom.xml. */
    static String snippet(String classifier) {
        return """
                <dependency>
                  <groupId>dev.kv8</groupId>
                  <artifactId>kv8-native</artifactId>
                  <version>%s</version>
                  <classifier>%s</classifier>
                </dependency>""".formatted(version(), classifier);
    }
}
