package dev.kv8.tests;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;

/**
 * A project of a stranger that depends on kv8 and resolves it from a file repository that holds this build's artifacts. It has
 * a local repository of its own, so that nothing installed on this machine can stand in; third parties' artifacts come from
 * the machine's Maven cache, read as one more file repository, so that no network is needed.
 */
record ConsumerProject(Path folder, List<String> classPath) {
    static final Path REPOSITORY = Path.of(System.getProperty("kv8.repository"));
    static final String VERSION = System.getProperty("kv8.version");

    /** What Maven resolves for {@code dependencies} (and dependencyManagement, if any) with {@code options}. */
    static ConsumerProject resolve(Path folder, String dependencies, String... options)
            throws IOException, InterruptedException {
        Files.writeString(folder.resolve("pom.xml"), """
                <project>
                  <modelVersion>4.0.0</modelVersion>
                  <groupId>example</groupId>
                  <artifactId>consumer</artifactId>
                  <version>1</version>
                  %s
                  <repositories>
                    <repository><id>kv8</id><url>%s</url></repository>
                    <repository><id>cache</id><url>%s</url></repository>
                  </repositories>
                  <pluginRepositories>
                    <pluginRepository><id>cache</id><url>%3$s</url></pluginRepository>
                  </pluginRepositories>
                </project>
                """.formatted(dependencies, REPOSITORY.toUri(), machineCache()));
        Files.writeString(folder.resolve("settings.xml"), "<settings/>");
        Path classPathFile = folder.resolve("classpath");
        List<String> line = new ArrayList<>(List.of(
                Path.of(System.getProperty("maven.home"), "bin", "mvn").toString(),
                "--batch-mode",
                "--quiet",
                "--offline",
                "-Daether.offline.protocols=file",
                "-Dmaven.repo.local=" + folder.resolve("m2"),
                "--settings=" + folder.resolve("settings.xml"),
                "--file=" + folder.resolve("pom.xml"),
                "org.apache.maven.plugins:maven-dependency-plugin:3.9.0:build-classpath",
                "-Dmdep.outputFile=" + classPathFile));
        line.addAll(List.of(options));
        Command.process(line).succeeds();
        return new ConsumerProject(
                folder,
                Stream.of(Files.readString(classPathFile).strip().split(File.pathSeparator))
                        .filter(file -> !file.endsWith(".pom"))
                        .toList());
    }

    /** One dependency on a pom of kv8. */
    static String dependsOn(String artifact) {
        return """
                <dependencies>
                  <dependency>
                    <groupId>dev.kv8</groupId>
                    <artifactId>%s</artifactId>
                    <version>%s</version>
                    <type>pom</type>
                  </dependency>
                </dependencies>
                """.formatted(artifact, VERSION);
    }

    private static String machineCache() {
        return Path.of(System.getProperty("maven.local.repository")).toUri().toString();
    }

    /** The names of the resolved jars. */
    List<String> jars() {
        return classPath.stream()
                .map(jar -> Path.of(jar).getFileName().toString())
                .toList();
    }

    /** Runs a Java source file on the resolved jars, whatever the environment of the build says. */
    Command run(Path source, Map<String, String> environment, String... jvmOptions)
            throws IOException, InterruptedException {
        List<String> line = new ArrayList<>(List.of("env", "-u", "KV8_BACKEND"));
        environment.forEach((name, value) -> line.add(name + "=" + value));
        line.addAll(List.of(
                Command.java(),
                "--enable-native-access=ALL-UNNAMED",
                "-Dorg.bytedeco.javacpp.cachedir=" + folder.resolve("cache")));
        line.addAll(List.of(jvmOptions));
        line.addAll(List.of("-cp", String.join(File.pathSeparator, classPath), source.toString()));
        return Command.process(line);
    }
}
