package dev.kv8.cli;

import picocli.CommandLine.IVersionProvider;

/** The version that the jar's manifest carries. */
final class Version implements IVersionProvider {
    static String current() {
        String version = Kv8.class.getPackage().getImplementationVersion();
        return version == null ? "built from source" : version;
    }

    @Override
    public String[] getVersion() {
        return new String[] {"kv8 " + current()};
    }
}
