package dev.kv8.llm;

import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.List;

/** Texts that are in memory, a sample each. */
final class ListedSamples implements SampleSource {
    private final List<String> texts;

    ListedSamples(List<String> texts) {
        this.texts = texts;
    }

    @Override
    public int size() {
        return texts.size();
    }

    /** Of the texts in UTF-8, a zero byte after each. */
    @Override
    public String sha256() {
        MessageDigest digest = Digests.sha256();
        for (String text : texts) {
            digest.update(text.getBytes(StandardCharsets.UTF_8));
            digest.update((byte) 0);
        }
        return HexFormat.of().formatHex(digest.digest());
    }

    @Override
    public CalibrationSample sample(int index) {
        return new CalibrationSample.Text(texts.get(index));
    }

    @Override
    public String place(int index) {
        return "text " + index;
    }

    @Override
    public void close() {}
}
