package dev.kv8.llm;

import java.nio.file.Path;
import java.time.LocalDate;
import java.util.Arrays;
import java.util.Optional;
import java.util.Random;

/** The samples of a calibration as tokens: a number of them, drawn from a data set and shuffled by a seed. For one thread. */
final class CalibrationTokens implements AutoCloseable {
    /** What templates that tell the date tell: always the same, so that a calibration can be repeated. */
    private static final LocalDate TODAY = LocalDate.of(2024, 7, 26);

    private final Path model;
    private final SampleSource source;
    private final Tokenizer tokenizer;
    private final Optional<ChatTemplate> template;
    private final int length;
    private final int[] order;

    /** {@code length}: tokens of a sample at most. {@code source} stays the caller's. */
    CalibrationTokens(Path model, SampleSource source, int samples, int length, long seed) {
        this.model = model;
        this.source = source;
        this.length = length;
        order = draw(source.size(), samples, seed);
        template = ChatTemplate.load(model);
        tokenizer = Tokenizer.load(model);
    }

    /** The first steps of a Fisher-Yates shuffle; {@link Random}'s numbers are the same on every Java. */
    private static int[] draw(int available, int wanted, long seed) {
        int[] indices = new int[available];
        Arrays.setAll(indices, i -> i);
        int count = Math.min(wanted, available);
        Random random = new Random(seed);
        for (int i = 0; i < count; i++) {
            int other = i + random.nextInt(available - i);
            int kept = indices[i];
            indices[i] = indices[other];
            indices[other] = kept;
        }
        return Arrays.copyOf(indices, count);
    }

    int samples() {
        return order.length;
    }

    String dataSha256() {
        return source.sha256();
    }

    /** The tokens of sample {@code i} of the shuffled ones, cut to the length. */
    int[] tokens(int i) {
        int[] tokens = encode(source.sample(order[i]), source.place(order[i]));
        return tokens.length <= length ? tokens : Arrays.copyOf(tokens, length);
    }

    /** The first samples as text, until they have that many tokens. */
    String text(int enough) {
        StringBuilder text = new StringBuilder();
        int tokens = 0;
        for (int i = 0; i < order.length && tokens < enough; i++) {
            int[] sample = tokens(i);
            tokens += sample.length;
            text.append(tokenizer.decode(sample)).append('\n');
        }
        return text.toString();
    }

    private int[] encode(CalibrationSample sample, String place) {
        if (sample instanceof CalibrationSample.Text text) {
            return tokenizer.encode(text.text());
        }
        ChatTemplate chatTemplate = template.orElseThrow(() -> new CalibrationException(
                place + " is a chat, but " + model + " has no chat template (chat_template in tokenizer_config.json, or"
                        + " chat_template.jinja). Add the model's template, or give lines with \"text\"."));
        try {
            var messages = ((CalibrationSample.Chat) sample).messages();
            return tokenizer.encodeTemplated(chatTemplate.render(messages, false, TODAY));
        } catch (CheckpointException e) {
            throw new CalibrationException(place + ": " + e.getMessage(), e);
        }
    }

    @Override
    public void close() {
        tokenizer.close();
    }
}
