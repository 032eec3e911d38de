package dev.kv8.server;

import static org.assertj.core.api.Assertions.assertThat;

import java.net.http.HttpResponse;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Fields that change no text are taken by both ways of asking for one. */
class CommonFieldsTest {
    private static TinyServer tiny;

    @BeforeAll
    static void start() {
        tiny = TinyServer.start();
    }

    @AfterAll
    static void stop() {
        tiny.close();
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "/v1/completions      | 'prompt':'And God said'",
                "/v1/chat/completions | 'messages':[{'role':'user','content':'And God said'}]"
            })
    void fieldsWithoutEffectAreAccepted(String path, String asked) {
        String body =
                "{" + asked + ",'max_tokens':2,'user':'u','store':true,'metadata':{'a':'b'},'service_tier':'auto',"
                        + "'safety_identifier':'s','prompt_cache_key':'k','parallel_tool_calls':false,"
                        + "'response_format':{'type':'text'},'tools':[]}";
        HttpResponse<String> response = tiny.post(path, body.replace('\'', '"'));
        assertThat(response.statusCode()).as(response.body()).isEqualTo(200);
    }
}
