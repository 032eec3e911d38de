package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class TokenizerTest {
    private static final String HARD = "naïve 日本語 🎉👩‍👩‍👧 Ω\t\r\nend ";

    @TempDir
    Path folder;

    @Test
    void encodesAsTheReferenceDoes() {
        try (Tokenizer tokenizer = Tokenizer.load(TinyModel.FOLDER)) {
            for (TinyModel.Prompt prompt : TinyModel.referencePrompts()) {
                assertThat(tokenizer.encode(prompt.text())).isEqualTo(prompt.tokenIds());
                assertThat(tokenizer.decode(prompt.greedyIds())).isEqualTo(prompt.greedyText());
            }
            int[] ids = tokenizer.encode(TinyModel.evaluationText());
            assertThat(ids).hasSize(12806);
            assertThat(Arrays.copyOf(ids, 4)).containsExactly(0, 51, 86, 258);
            assertThat(tokenizer.decode(ids)).isEqualTo(TinyModel.evaluationText());
        }
    }

    @Test
    void streamsWholeCharactersOnly() {
        try (Tokenizer tokenizer = Tokenizer.load(TinyModel.FOLDER)) {
            int[] ids = tokenizer.encode(HARD);
            TextStream stream = tokenizer.stream(new int[] {0});
            String last = "";
            for (int i = 1; i < ids.length; i++) {
                stream.add(ids[i]);
                String text = stream.text().toString();
                assertThat(text).startsWith(last).doesNotContain("\uFFFD");
                assertThat(HARD).startsWith(text);
                last = text;
            }
            stream.finish();
            assertThat(stream.text()).hasToString(HARD);
        }
    }

    @Test
    void showsAnUnfinishedCharacterAtTheEndOnly() {
        try (Tokenizer tokenizer = Tokenizer.load(TinyModel.FOLDER)) {
            int[] ids = tokenizer.encode("a🎉");
            TextStream stream = tokenizer.stream(new int[] {0});
            for (int i = 1; i < ids.length - 1; i++) {
                stream.add(ids[i]);
            }
            assertThat(stream.text()).hasToString("a");
            stream.finish();
            assertThat(stream.text().toString()).startsWith("a\uFFFD");
        }
    }

    /** A token that says nothing, and one that is a byte within a character, without end. */
    @Test
    void decodesFewTokensAtATimeWhateverComes() {
        try (Tokenizer tokenizer = Tokenizer.load(TinyModel.FOLDER)) {
            int[] party = tokenizer.encode("🎉");
            for (int endless : new int[] {0, party[party.length - 1]}) {
                TextStream stream = tokenizer.stream(tokenizer.encode("In the beginning"));
                for (int i = 0; i < 500; i++) {
                    stream.add(endless);
                    assertThat(stream.window()).isLessThan(50);
                }
                for (int id : tokenizer.encode(" and a🎉 day")) {
                    stream.add(id);
                }
                stream.finish();
                assertThat(stream.text().toString()).endsWith("and a🎉 day");
            }
        }
    }

    private Tokenizer withConfig(String config) throws IOException {
        Files.copy(TinyModel.FOLDER.resolve("tokenizer.json"), folder.resolve("tokenizer.json"));
        Files.writeString(folder.resolve("tokenizer_config.json"), config);
        return Tokenizer.load(folder);
    }

    @Test
    void leavesTheBeginningAwayWhereTheConfigurationSaysSo() throws IOException {
        try (Tokenizer tokenizer = withConfig("{\"add_bos_token\":false,\"bos_token\":\"<s>\"}")) {
            assertThat(tokenizer.encode("In the beginning")[0]).isNotZero();
            assertThat(tokenizer.encode("")).isEmpty();
        }
    }

    @Test
    void addsTheBeginningThatAPostProcessorDoesNot() throws IOException {
        String json = Files.readString(TinyModel.FOLDER.resolve("tokenizer.json"));
        int from = json.indexOf("\"post_processor\"");
        int to = json.indexOf("\"decoder\"");
        Files.writeString(
                folder.resolve("tokenizer.json"),
                json.substring(0, from) + "\"post_processor\": null, " + json.substring(to));
        try (Tokenizer plain = Tokenizer.load(folder)) {
            assertThat(plain.encode("In the beginning")[0]).isNotZero();
        }
        Files.writeString(
                folder.resolve("tokenizer_config.json"),
                "{\"add_bos_token\":true,\"bos_token\":{\"content\":\"<s>\",\"special\":true}}");
        try (Tokenizer tokenizer = Tokenizer.load(folder)) {
            assertThat(tokenizer.encode("In the beginning")[0]).isZero();
        }
    }

    @Test
    void refusesABeginningThatIsNoToken() {
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> withConfig("{\"add_bos_token\":true,\"bos_token\":\"<none>\"}"))
                .withMessageContaining("\"bos_token\" is <none>; it must be one token of the vocabulary");
    }

    @Test
    void refusesWhatIsNoTokenizer() throws IOException {
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> Tokenizer.load(folder))
                .withMessageContaining("tokenizer.json is missing");
        Files.writeString(folder.resolve("tokenizer.json"), "{\"model\":{}}");
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> Tokenizer.load(folder))
                .withMessageContaining("can't be loaded as a tokenizer");
    }

    /** Each of them ends the process in the tokenizers' own library. */
    @Test
    void refusesWhatItsLibraryWouldEndTheProcessFor() throws IOException {
        refusesDecoderWith("1,", "is not valid JSON", "(line ");
        refusesDecoderWith("'a':1e999,", "a number that no float64 holds in line ");
        refusesDecoderWith("'a':'\\ud800',", "surrogate pair");
        refusesDecoderWith("'a':" + "[".repeat(200) + "]".repeat(200) + ",", "nesting depth");
        refuses(
                "{'model':{'type':'Unigram','unk_id':0,'vocab':[['a',0.0],['" + "b".repeat(20_000) + "',0.0]]}}",
                "a token of more than 1024 bytes in line 1");
        refuses(
                "{'normalizer':{'type':'Replace','pattern':{'Regex':'" + "[".repeat(20_000) + "'},'content':''}}",
                "a regular expression of more than 4096 characters in line 1");
        refuses(
                "{'post_processor':{'single':[{'SpecialToken':{'id':'<s>','type_id':0}}],'special_tokens':{}}}",
                "tokenizer.json, post_processor",
                "\"single\" names the token \"<s>\", which is not in special_tokens");
    }

    private void refusesDecoderWith(String fields, String... messages) throws IOException {
        refuses("{'model':{},'decoder':{" + fields + "'type':'ByteLevel'}}", messages);
    }

    private void refuses(String tokenizer, String... messages) throws IOException {
        Path file = Files.writeString(folder.resolve("tokenizer.json"), tokenizer.replace('\'', '"'));
        var thrown = assertThatExceptionOfType(CheckpointException.class).isThrownBy(() -> Tokenizer.load(folder));
        thrown.withMessageContaining(file.toString());
        for (String message : messages) {
            thrown.withMessageContaining(message);
        }
    }
}
