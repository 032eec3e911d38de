package dev.kv8.server;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class JsonFieldsTest {
    private static JsonFields parse(String json) {
        return JsonFields.parse(json.getBytes(UTF_8));
    }

    @Test
    void readsEachTypeAndTakesNullForAbsent() {
        JsonFields fields = parse(
                "{\"a\":1,\"b\":2.5,\"c\":\"x\",\"d\":true,\"e\":[1,2],\"f\":null,\"g\":[\"y\"],\"h\":{\"i\":7}}");
        assertThat(fields.integer("a")).hasValue(1);
        assertThat(fields.number("a")).hasValue(1);
        assertThat(fields.number("b")).hasValue(2.5);
        assertThat(fields.text("c")).contains("x");
        assertThat(fields.texts("c")).containsExactly("x");
        assertThat(fields.flag("d")).contains(true);
        assertThat(fields.integers("e")).containsExactly(1, 2);
        assertThat(fields.text("f")).isEmpty();
        assertThat(fields.texts("g")).containsExactly("y");
        assertThat(fields.object("h").orElseThrow().integer("i")).hasValue(7);
        fields.finish();
    }

    @Test
    void namesTheFieldThatIsWrongAndWhatIsAllowed() {
        JsonFields fields = parse("{\"i\":1e999,\"a\":1.5,\"b\":\"x\",\"m\":[{\"role\":3}],\"n\":3000000000}");
        assertThatThrownBy(() -> fields.integer("a")).hasMessage("\"a\" is 1.5; it must be a whole number below 2^31.");
        assertThatThrownBy(() -> fields.integer("n")).hasMessageContaining("3000000000");
        assertThatThrownBy(() -> fields.number("b")).hasMessage("\"b\" is x; it must be a finite number.");
        assertThatThrownBy(() -> fields.number("i")).hasMessageContaining("a finite number");
        assertThatThrownBy(() -> fields.flag("b")).hasMessage("\"b\" is x; it must be true or false.");
        assertThatThrownBy(() -> fields.objects("m").get(0).text("role"))
                .hasMessage("\"m[0].role\" is 3; it must be a string.");
    }

    @Test
    void refusesWhatNobodyAskedFor() {
        JsonFields fields = parse("{\"temperature\":1,\"temprature\":2,\"user\":\"x\"}");
        assertThat(fields.number("temperature")).hasValue(1);
        fields.ignore("user");
        assertThatThrownBy(fields::finish).hasMessage("Unrecognized request argument supplied: \"temprature\".");
    }

    @Test
    void letsWhatIsNotSupportedStandAsLongAsItAsksForNothing() {
        parse("{\"tools\":[],\"audio\":null,\"bias\":{},\"format\":{\"type\":null},\"echo\":false,\"k\":0}")
                .refuse("tools", "audio", "bias", "format", "echo", "k", "absent");
        assertThatThrownBy(() -> parse("{\"tools\":[{}]}").refuse("tools"))
                .hasMessage("\"tools\" is not supported by this server.");
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                "nonsense",
                "[]",
                "\"text\"",
                "{\"a\":1",
                "{\"a\":1}{}",
                "{\"a\":1,\"a\":2}",
                "{\"a\":[null]}",
                "{\"a\":NaN}",
                "{'a':1}"
            })
    void refusesWhatIsNotOneJsonObject(String body) {
        assertThatThrownBy(() -> parse(body))
                .isInstanceOfSatisfying(
                        ApiError.class, error -> assertThat(error.status()).isEqualTo(400));
    }

    @Test
    void refusesDeepNestingAndBytesThatAreNoText() {
        String deep = "{\"a\":" + "[".repeat(10_000) + "]".repeat(10_000) + "}";
        assertThatThrownBy(() -> parse(deep)).isInstanceOf(ApiError.class);
        byte[] broken = {'{', '"', 'a', '"', ':', '"', (byte) 0xC3, (byte) 0x28, '"', '}'};
        assertThatThrownBy(() -> JsonFields.parse(broken)).isInstanceOf(ApiError.class);
    }
}
