package dev.kv8.llm;

import com.hubspot.jinjava.Jinjava;
import com.hubspot.jinjava.JinjavaConfig;
import com.hubspot.jinjava.LegacyOverrides;
import com.hubspot.jinjava.el.JinjavaInterpreterResolver;
import com.hubspot.jinjava.el.JinjavaProcessors;
import com.hubspot.jinjava.interpret.JinjavaInterpreter;
import com.hubspot.jinjava.interpret.RenderResult;
import com.hubspot.jinjava.interpret.TemplateError;
import com.hubspot.jinjava.lib.exptest.IsIterableExpTest;
import com.hubspot.jinjava.lib.filter.TrimFilter;
import com.hubspot.jinjava.lib.fn.ELFunctionDefinition;
import com.hubspot.jinjava.loader.ResourceNotFoundException;
import com.hubspot.jinjava.objects.date.StrftimeFormatter;
import java.io.IOException;
import java.nio.charset.CharacterCodingException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import jinjava.javax.el.CompositeELResolver;
import jinjava.javax.el.ELResolver;
import org.jspecify.annotations.Nullable;

/**
 * A model's chat template: turns a conversation into the text that the model was trained on. It is Jinja, from {@code
 * chat_template.jinja} or {@code tokenizer_config.json}, rendered as transformers does. A template is data from strangers: it
 * reaches no file and no Java class, and what messages say is never taken for Jinja. Any thread may use it.
 */
public final class ChatTemplate {
    private static final String TODAY = "kv8_today";
    private static final int MAX_CHARACTERS = 64 << 20;
    private static final int MAX_ELEMENTS = 1 << 20;
    private static final Jinjava JINJA = jinja();

    private final Path file;
    private final String source;
    private final String bosToken;
    private final String eosToken;

    private ChatTemplate(Path file, String source, String bosToken, String eosToken) {
        this.file = file;
        // Jinja leaves out a template's last line end.
        this.source =
                TemplateSource.forJinjava(source.endsWith("\n") ? source.substring(0, source.length() - 1) : source);
        this.bosToken = bosToken;
        this.eosToken = eosToken;
    }

    private static JinjavaConfig config() {
        return JinjavaConfig.newBuilder()
                .withTrimBlocks(true)
                .withLstripBlocks(true)
                .withKeepTrailingNewline(true)
                .withNestedInterpretationEnabled(false)
                .withMaxOutputSize(MAX_CHARACTERS)
                .withMaxListSize(MAX_ELEMENTS)
                .withMaxMapSize(MAX_ELEMENTS)
                .withProcessors(JinjavaProcessors.newBuilder()
                        .withNodePreProcessor(new TemplateSteps())
                        .build())
                .withLegacyOverrides(asJinjaDoes())
                .withElResolver(resolver())
                .build();
    }

    private static Jinjava jinja() {
        Jinjava jinja = new Jinjava(config());
        jinja.getGlobalContext().registerTag(new TemplateSteps.Loop());
        jinja.getGlobalContext().registerFilter(new PythonTrim());
        jinja.getGlobalContext().registerExpTest(new PythonIterable());
        jinja.setResourceLocator((name, encoding, interpreter) -> {
            throw new ResourceNotFoundException("A chat template may not read other files, such as " + name);
        });
        jinja.getGlobalContext()
                .registerFunction(
                        new ELFunctionDefinition("", "raise_exception", ChatTemplate.class, "raise", String.class));
        jinja.getGlobalContext()
                .registerFunction(
                        new ELFunctionDefinition("", "strftime_now", ChatTemplate.class, "formatToday", String.class));
        return jinja;
    }

    /** Jinjava leaves white space beyond ASCII, such as that of Japanese texts. */
    private static final class PythonTrim extends TrimFilter {
        @Override
        public @Nullable Object filter(@Nullable Object value, JinjavaInterpreter interpreter, String... arguments) {
            return value instanceof String text ? PythonStrings.stripped(text) : value;
        }
    }

    /** Strings are iterable in Python, which Llama's templates tell by the JSON that they make of them. */
    private static final class PythonIterable extends IsIterableExpTest {
        @Override
        public boolean evaluate(@Nullable Object value, JinjavaInterpreter interpreter, Object... arguments) {
            return value instanceof String || value instanceof Map || super.evaluate(value, interpreter, arguments);
        }
    }

    private static ELResolver resolver() {
        CompositeELResolver resolver = new CompositeELResolver();
        resolver.add(new PythonStrings());
        resolver.add(JinjavaInterpreterResolver.DEFAULT_RESOLVER_READ_ONLY);
        return resolver;
    }

    private static LegacyOverrides asJinjaDoes() {
        return LegacyOverrides.newBuilder()
                .withEvaluateMapKeys(true)
                .withIterateOverMapKeys(true)
                .withUseSnakeCasePropertyNaming(true)
                .withUseNaturalOperatorPrecedence(true)
                .withParseWhitespaceControlStrictly(true)
                .withAllowAdjacentTextNodes(true)
                .withUseTrimmingForNotesAndExpressions(true)
                .withKeepNullableLoopValues(true)
                .withHandleBackslashInQuotesOnly(true)
                .build();
    }

    /**
     * Reads the template of a model folder.
     *
     * @return empty when the model has none
     * @throws CheckpointException when a file is malformed
     */
    public static Optional<ChatTemplate> load(Path folder) {
        Path config = folder.resolve("tokenizer_config.json");
        Path file = folder.resolve("chat_template.jinja");
        try {
            TokenizerTexts texts = Files.exists(config) ? TokenizerTexts.read(config) : TokenizerTexts.NONE;
            if (Files.exists(file)) {
                return Optional.of(of(file, text(file), texts));
            }
            return texts.chatTemplate().map(source -> of(config, source, texts));
        } catch (CharacterCodingException e) {
            throw new CheckpointException(file + " is not text in UTF-8. Fetch the file again.", e);
        } catch (IOException e) {
            throw new CheckpointException("The chat template of " + folder + " can't be read: " + e.getMessage(), e);
        }
    }

    private static String text(Path file) throws IOException {
        long size = Files.size(file);
        if (size > MAX_CHARACTERS) {
            throw new CheckpointException(
                    file + " has " + size + " bytes; a chat template has at most " + MAX_CHARACTERS + ".");
        }
        return Files.readString(file);
    }

    private static ChatTemplate of(Path file, String source, TokenizerTexts texts) {
        try {
            return new ChatTemplate(file, source, texts.bosToken(), texts.eosToken());
        } catch (IllegalArgumentException e) {
            throw new CheckpointException(
                    "The chat template in " + file + " can't be read: " + e.getMessage() + ". Fetch the file again.",
                    e);
        }
    }

    /**
     * The text of a conversation, special tokens included: it becomes ids with {@link Tokenizer#encodeTemplated}.
     *
     * @param addGenerationPrompt end with what comes before an answer of the assistant
     * @param today the date that some templates tell the model
     * @throws CheckpointException when the template refuses the conversation (roles that must alternate, for instance) or
     *     can't be rendered
     */
    public String render(List<ChatMessage> messages, boolean addGenerationPrompt, LocalDate today) {
        Map<String, Object> context = new LinkedHashMap<>();
        context.put(
                "messages",
                messages.stream()
                        .map(message -> Map.of("role", message.role(), "content", message.content()))
                        .toList());
        context.put("add_generation_prompt", addGenerationPrompt);
        context.put("bos_token", bosToken);
        context.put("eos_token", eosToken);
        context.put(TODAY, today);
        // Templates ask whether it is defined before they call it.
        context.put("strftime_now", "a function");
        RenderResult result;
        try {
            result = JINJA.renderForResult(source, context, config());
        } catch (StackOverflowError e) {
            throw new CheckpointException(
                    "The chat template in " + file + " is nested too deeply to be rendered. Fetch the file again.", e);
        }
        for (TemplateError error : result.getErrors()) {
            if (error.getSeverity() == TemplateError.ErrorType.FATAL) {
                throw new CheckpointException("The chat template in " + file + ", line " + error.getLineno()
                        + ", can't render this conversation: " + reason(error));
            }
        }
        return result.getOutput();
    }

    /** What {@link #raise} said is the last cause of several. */
    private static String reason(TemplateError error) {
        Throwable cause = error.getException();
        while (cause != null && cause.getCause() != null) {
            cause = cause.getCause();
        }
        return String.valueOf(cause instanceof IllegalArgumentException ? cause.getMessage() : error.getMessage());
    }

    /** For templates, which call it by the name {@code raise_exception}. */
    @SuppressWarnings("DoNotCallSuggester") // not by Java
    public static String raise(String message) {
        throw new IllegalArgumentException(message);
    }

    /** For templates, which call it by the name {@code strftime_now}. */
    public static String formatToday(String format) {
        LocalDate today = (LocalDate) Objects.requireNonNull(
                JinjavaInterpreter.getCurrent().getContext().get(TODAY), "set by render");
        return StrftimeFormatter.format(today.atStartOfDay(ZoneOffset.UTC), format);
    }
}
