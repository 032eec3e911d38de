package dev.kv8.llm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.junit.jupiter.api.Test;

class JsonTextTest {
    private static JsonText text(String json) {
        return new JsonText("some.json", json.getBytes(StandardCharsets.UTF_8));
    }

    private static String string(JsonText text) {
        return new String(text.bytes(), StandardCharsets.UTF_8);
    }

    @Test
    void addsAtTheEndAndTouchesNothingElse() {
        String json = "{\n  \"é–中😀\": [1e-05, {\"x\": null}],\n  \"n\" : 1.50E+3 \n}\n";
        assertThat(string(text(json).with(Map.of("new", "[2]"), "\n  ")))
                .isEqualTo("{\n  \"é–中😀\": [1e-05, {\"x\": null}],\n  \"n\" : 1.50E+3,\n  \"new\": [2] \n}\n");
        assertThat(string(text("{}").with(Map.of("new", "1"), ""))).isEqualTo("{\"new\": 1}");
    }

    @Test
    void addsInsideOfAnObject() {
        String json = "{\"other\": {\"map\": {}}, \"map\": {\"a\": \"x\"}, \"last\": 3}";
        assertThat(string(text(json).with(Map.of("b", "\"y\""), " ", "map")))
                .isEqualTo("{\"other\": {\"map\": {}}, \"map\": {\"a\": \"x\", \"b\": \"y\"}, \"last\": 3}");
    }

    @Test
    void raisesANumberWhereThereIsOne() {
        String json = "{\"metadata\": {\"a\": \"9\", \"size\": 5000000000}}";
        assertThat(string(text(json).raised(7, "metadata", "size")))
                .isEqualTo("{\"metadata\": {\"a\": \"9\", \"size\": 5000000007}}");
        assertThat(string(text("{\"size\": 16.0}").raised(7, "size"))).isEqualTo("{\"size\": 23}");
        assertThat(string(text(json).raised(7, "metadata", "a"))).isEqualTo(json);
        assertThat(string(text(json).raised(7, "metadata", "none"))).isEqualTo(json);
        assertThat(string(text(json).raised(7, "none", "size"))).isEqualTo(json);
    }

    @Test
    void refusesWhatItCannotAdd() {
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> text("{\"a\": null}").with(Map.of("a", "1"), ""))
                .withMessage("some.json already has \"a\".");
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> text("{\"map\": 3}").with(Map.of("a", "1"), "", "map"))
                .withMessage("some.json has no object map.");
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> text("{\"a\": {}}").with(Map.of("a", "1"), "", "map"))
                .withMessage("some.json has no object map.");
        assertThatExceptionOfType(CheckpointException.class)
                .isThrownBy(() -> text("{\"a\": ").with(Map.of("b", "1"), ""))
                .withMessageContaining("some.json is not valid JSON");
    }
}
