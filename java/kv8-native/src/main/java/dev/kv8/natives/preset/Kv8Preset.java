package dev.kv8.natives.preset;

import org.bytedeco.javacpp.annotation.NoException;
import org.bytedeco.javacpp.annotation.Platform;
import org.bytedeco.javacpp.annotation.Properties;
import org.bytedeco.javacpp.tools.Info;
import org.bytedeco.javacpp.tools.InfoMap;
import org.bytedeco.javacpp.tools.InfoMapper;

/**
 * Tells JavaCPP how to turn {@code kv8.h} into package {@code dev.kv8.natives.abi}, and that the JNI library is {@code
 * jnikv8} with the archive {@code kv8core} inside. Used at build time; nothing of the ABI throws.
 */
@Properties(
        target = "dev.kv8.natives.abi",
        global = "dev.kv8.natives.abi.kv8",
        value =
                @Platform(
                        value = {"linux-x86_64", "linux-arm64"},
                        compiler = "cpp17",
                        include = "kv8/kv8.h",
                        link = "kv8core#", // "#": linked in, so there is nothing to load at run time
                        library = "jnikv8"))
@NoException
public class Kv8Preset implements InfoMapper {
    @Override
    public void map(InfoMap infoMap) {
        infoMap.put(new Info("KV8_API").cppTypes().annotations());
    }
}
