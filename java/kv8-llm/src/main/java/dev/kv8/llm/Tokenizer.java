package dev.kv8.llm;

import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import org.bytedeco.javacpp.Loader;

/**
 * A model's tokenizer.json. Text becomes ids with the special tokens that its post-processor adds, and a beginning-of-text
 * token as tokenizer_config.json's {@code add_bos_token} says where it says so. Any thread may use it.
 */
public final class Tokenizer implements AutoCloseable {
    private final HuggingFaceTokenizer tokenizer;
    private final int bosId;
    private final BosRule bosRule;

    private enum BosRule {
        AS_POST_PROCESSED,
        ALWAYS,
        NEVER
    }

    private Tokenizer(HuggingFaceTokenizer tokenizer, int bosId, BosRule bosRule) {
        this.tokenizer = tokenizer;
        this.bosId = bosId;
        this.bosRule = bosRule;
    }

    /**
     * Loads {@code tokenizer.json} and, where there is one, {@code tokenizer_config.json} of a model folder. Nothing is
     * downloaded and nothing reported to anybody: DJL's offline mode is switched on for this process unless a property says
     * otherwise, and its native library goes where JavaCPP's libraries go.
     *
     * @throws CheckpointException when a file is missing or malformed
     */
    public static Tokenizer load(Path folder) {
        Path file = folder.resolve("tokenizer.json");
        if (!Files.isRegularFile(file)) {
            throw new CheckpointException(
                    file + " is missing; only Hugging Face's tokenizer.json is read. Convert the tokenizer with"
                            + " transformers (AutoTokenizer.from_pretrained(...).save_pretrained(...)).");
        }
        byte[] text = TokenizerJson.read(file);
        keepDjlToItself();
        HuggingFaceTokenizer tokenizer;
        try (InputStream json = new ByteArrayInputStream(text)) {
            tokenizer = HuggingFaceTokenizer.newInstance(
                    json, Map.of("addSpecialTokens", "true", "truncation", "false", "padding", "false"));
        } catch (IOException | RuntimeException e) {
            throw new CheckpointException(file + " can't be loaded as a tokenizer: " + e.getMessage(), e);
        }
        try {
            return configured(tokenizer, folder.resolve("tokenizer_config.json"));
        } catch (CheckpointException e) {
            tokenizer.close();
            throw e;
        } catch (RuntimeException e) {
            tokenizer.close();
            throw new CheckpointException(file + " can't be used as a tokenizer: " + e.getMessage(), e);
        }
    }

    private static Tokenizer configured(HuggingFaceTokenizer tokenizer, Path configFile) {
        if (!Files.exists(configFile)) {
            return new Tokenizer(tokenizer, -1, BosRule.AS_POST_PROCESSED);
        }
        JsonObject config = JsonObject.read(configFile);
        var addBos = config.flag("add_bos_token");
        if (addBos.isEmpty()) {
            return new Tokenizer(tokenizer, -1, BosRule.AS_POST_PROCESSED);
        }
        String bos = config.tokenText("bos_token").orElse("");
        long[] ids = bos.isEmpty()
                ? new long[0]
                : tokenizer.encode(bos, false, false).getIds();
        if (ids.length != 1) {
            if (addBos.get()) {
                throw config.wrong("bos_token", bos, "one token of the vocabulary, since add_bos_token is true");
            }
            return new Tokenizer(tokenizer, -1, BosRule.AS_POST_PROCESSED);
        }
        return new Tokenizer(tokenizer, (int) ids[0], addBos.get() ? BosRule.ALWAYS : BosRule.NEVER);
    }

    /** Must run before the first class of DJL is used. */
    private static void keepDjlToItself() {
        setUnlessSet("ai.djl.offline", "true");
        setUnlessSet("OPT_OUT_TRACKING", "true");
        setUnlessSet("RUST_FLAVOR", "cpu");
        setUnlessSet("slf4j.internal.verbosity", "ERROR");
        try {
            setUnlessSet("ENGINE_CACHE_DIR", Loader.getCacheDir().getPath());
        } catch (IOException e) {
            throw new CheckpointException(
                    "No folder to extract native libraries to: " + e.getMessage()
                            + ". Set -Dorg.bytedeco.javacpp.cachedir to a writable folder.",
                    e);
        }
    }

    private static void setUnlessSet(String property, String value) {
        if (System.getProperty(property) == null) {
            System.setProperty(property, value);
        }
    }

    /**
     * The ids of a text, with special tokens.
     *
     * @throws IllegalArgumentException when the tokenizer has none for a part of it
     */
    public int[] encode(String text) {
        int[] ids = ids(text, true);
        boolean begins = ids.length > 0 && ids[0] == bosId;
        if (bosRule == BosRule.ALWAYS && !begins) {
            int[] longer = new int[ids.length + 1];
            longer[0] = bosId;
            System.arraycopy(ids, 0, longer, 1, ids.length);
            return longer;
        }
        return bosRule == BosRule.NEVER && begins ? Arrays.copyOfRange(ids, 1, ids.length) : ids;
    }

    /** The ids of a text that names its special tokens itself, as a {@link ChatTemplate} writes it: none are added. */
    public int[] encodeTemplated(String text) {
        return ids(text, false);
    }

    /** The text of ids, without special tokens. Bytes that are not valid UTF-8 show as U+FFFD. */
    public String decode(int... ids) {
        return tokenizer.decode(Arrays.stream(ids).asLongStream().toArray(), true);
    }

    /** The text of one token alone, special ones included. */
    String tokenText(int id) {
        return tokenizer.decode(new long[] {id}, false);
    }

    /** Decodes a continuation of {@code promptIds} token by token; see {@link TextStream}. */
    TextStream stream(int[] promptIds) {
        return new TextStream(this, promptIds);
    }

    private int[] ids(String text, boolean specialTokens) {
        try {
            return toInts(tokenizer.encode(text, specialTokens, false).getIds());
        } catch (RuntimeException e) { // such as a vocabulary without a token for what is unknown to it
            throw new IllegalArgumentException("The model's tokenizer can't encode this text: " + e.getMessage(), e);
        }
    }

    private static int[] toInts(long[] ids) {
        return Arrays.stream(ids).mapToInt(Math::toIntExact).toArray();
    }

    @Override
    public void close() {
        tokenizer.close();
    }
}
