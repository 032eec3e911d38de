package dev.kv8.server;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.ByteArrayInputStream;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Each bad request gets its status, and an error that names what is wrong in OpenAI's form. */
class RefusalTest {
    private static final String COMPLETIONS = "/v1/completions";
    private static final String CHAT = "/v1/chat/completions";
    private static final int BODY_LIMIT = 100_000;

    private static TinyServer tiny;

    @BeforeAll
    static void start() {
        tiny = TinyServer.start(
                config -> config.maxBodyBytes(BODY_LIMIT).maxChoices(8).maxTokens(2000));
    }

    @AfterAll
    static void stop() {
        assertThat(tiny.llm.stats().steps())
                .as("a refused request reaches no step")
                .isZero();
        tiny.close();
    }

    private static JsonNode refused(HttpResponse<String> response, int status) {
        assertThat(response.statusCode()).as(response.body()).isEqualTo(status);
        assertThat(response.headers().firstValue("content-type")).contains("application/json");
        JsonNode error = parse(response.body()).get("error");
        assertThat(fieldNames(error)).containsExactlyInAnyOrder("message", "type", "param", "code");
        assertThat(error.get("message").asText()).isNotBlank();
        assertThat(error.get("type").asText()).isNotBlank();
        return error;
    }

    private static JsonNode parse(String json) {
        try {
            return JsonMapper.builder().build().readTree(json);
        } catch (JsonProcessingException e) {
            throw new AssertionError(json, e);
        }
    }

    private static List<String> fieldNames(JsonNode object) {
        List<String> names = new ArrayList<>();
        object.fieldNames().forEachRemaining(names::add);
        return names;
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "{                                                  | null            | JSON",
                "[]                                                 | null            | not a JSON object",
                "{}                                                 | prompt          | missing",
                "{'prompt':[]}                                      | prompt          | a list of strings",
                "{'prompt':{}}                                      | prompt          | a list of strings",
                "{'prompt':[1,'x']}                                 | prompt[1]       | whole number",
                "{'prompt':[99999999]}                              | prompt          | 99999999",
                "{'prompt':'x','temperature':'hot'}                 | temperature     | finite number",
                "{'prompt':'x','temperature':-0.1}                  | temperature     | 0 (greedy) to 100",
                "{'prompt':'x','top_p':0}                           | top_p           | more than 0",
                "{'prompt':'x','top_p':1.5}                         | top_p           | at most 1",
                "{'prompt':'x','top_k':-2}                          | top_k           | 0",
                "{'prompt':'x','min_p':2}                           | min_p           | 1",
                "{'prompt':'x','presence_penalty':3}                | presence_penalty | 2",
                "{'prompt':'x','frequency_penalty':-3}              | frequency_penalty | 2",
                "{'prompt':'x','repetition_penalty':0}              | repetition_penalty | 0",
                "{'prompt':'x','n':0}                               | n               | 1",
                "{'prompt':'x','n':2,'temperature':0}               | n               | the same text 2 times",
                "{'prompt':'x','n':9}                               | prompt          | limit of 8",
                "{'prompt':['x','y','z'],'n':3}                     | prompt          | limit of 8",
                "{'prompt':'x','max_tokens':0}                      | max_tokens      | 1 or more",
                "{'prompt':'x','max_tokens':1.5}                    | max_tokens      | whole number",
                "{'prompt':'x','max_tokens':2001}                   | max_tokens      | limit",
                "{'prompt':'x','seed':1e30}                         | seed            | 64 bits",
                "{'prompt':'x','stop':''}                           | stop            | empty",
                "{'prompt':'x','stop':[7]}                          | stop            | string",
                "{'prompt':'x','response_format':{'type':'json_object'}} | response_format.type | json_object",
                "{'prompt':'x','tools':[{}]}                        | tools           | not supported",
                "{'prompt':'x','stop_token_ids':[-1]}               | stop_token_ids  | 0 or more",
                "{'prompt':'x','logprobs':21}                       | logprobs        | 0 to 20",
                "{'prompt':'x','best_of':2}                         | best_of         | the same",
                "{'prompt':'x','suffix':'y'}                        | suffix          | not supported",
                "{'prompt':'x','logit_bias':{'1':1}}                | logit_bias      | not supported",
                "{'prompt':'x','stream':1}                          | stream          | true or false",
                "{'prompt':'x','stream_options':{'include_usage':true}} | stream_options | only allowed",
                "{'prompt':'x','temprature':1}                      | temprature      | Unrecognized",
                "{'prompt':'x','prompt':'y'}                        | null            | Duplicate"
            })
    void badCompletionIsRefusedByTheNameOfTheField(String body, String param, String words) {
        JsonNode error = refused(tiny.post(COMPLETIONS, body.replace('\'', '"')), 400);
        assertThat(error.get("type").asText()).isEqualTo("invalid_request_error");
        assertThat(error.get("param").isNull() ? "null" : error.get("param").asText())
                .isEqualTo(param);
        assertThat(error.get("message").asText()).contains(words);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            quoteCharacter = '`',
            value = {
                "{}                                                             | messages          | missing",
                "{'messages':'hello'}                                           | messages          | list of objects",
                "{'messages':[{'content':'x'}]}                                 | messages[0].role  | missing",
                "{'messages':[{'role':'user'}]}                                 | messages[0].content | missing",
                "{'messages':[{'role':'user','content':[{'type':'image_url'}]}]} | messages[0].content[0].type | image_url",
                "{'messages':[{'role':'user','content':'x','colour':'y'}]}      | messages[0].colour | Unrecognized",
                "{'messages':[{'role':'user','content':'x'}],'tools':[{}]}      | tools             | not supported",
                "{'messages':[{'role':'user','content':'x'}],'top_logprobs':2}  | top_logprobs      | only allowed",
                "{'messages':[{'role':'user','content':'x'}],'response_format':{'type':'json_object'}} | response_format.type | json_object",
                "{'messages':[{'role':'user','content':'x'}],'max_completion_tokens':-1} | max_completion_tokens | 1 or more",
                "{'messages':[{'role':'user','content':'x'}],'n':2,'temperature':0} | n             | the same text 2 times",
                "{'messages':[{'role':'user','content':'x'}],'prompt':'x'}      | prompt            | Unrecognized"
            })
    void badChatIsRefusedByTheNameOfTheField(String body, String param, String words) {
        JsonNode error = refused(tiny.post(CHAT, body.replace('\'', '"')), 400);
        assertThat(error.get("param").asText()).isEqualTo(param);
        assertThat(error.get("message").asText()).contains(words);
    }

    @Test
    void promptBeyondTheModelsLengthIsRefusedWithBothNumbers() {
        JsonNode error = refused(tiny.post(COMPLETIONS, "{\"prompt\":\"" + "lo ".repeat(5000) + "\"}"), 400);
        assertThat(error.get("message").asText()).contains("2048");
    }

    @Test
    void largeBodyIsRefusedByItsLengthOrWhenItHasCome() {
        String large = "{\"prompt\":\"" + "x".repeat(BODY_LIMIT) + "\"}";
        assertThat(refused(tiny.post(COMPLETIONS, large), 413).get("message").asText())
                .contains("100000");
        HttpResponse<String> ofUnknownLength = tiny.send(tiny.request(COMPLETIONS)
                .header("Content-Type", "application/json")
                .POST(BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(large.getBytes(UTF_8))))
                .build());
        refused(ofUnknownLength, 413);
    }

    @Test
    void bodyThatIsNotSaidToBeJsonIsRefused() {
        for (String type : new String[] {"text/plain", "application/x-www-form-urlencoded"}) {
            refused(
                    tiny.send(tiny.request(COMPLETIONS)
                            .header("Content-Type", type)
                            .POST(BodyPublishers.ofString("{\"prompt\":\"x\"}"))
                            .build()),
                    415);
        }
    }

    @Test
    void unknownPathsModelsAndMethodsAreRefused() {
        refused(tiny.get("/v1/embeddings"), 404);
        refused(tiny.get("/../etc/passwd"), 404);
        assertThat(refused(tiny.get("/v1/models/gpt%2F4"), 404).get("code").asText())
                .isEqualTo("model_not_found");
        assertThat(refused(tiny.post(COMPLETIONS, "{\"model\":\"gpt-4\",\"prompt\":\"x\"}"), 404)
                        .get("message")
                        .asText())
                .contains("gpt-4", TinyServer.MODEL);
        HttpResponse<String> response = tiny.get(COMPLETIONS);
        refused(response, 405);
        assertThat(response.headers().firstValue("allow")).contains("POST");
        refused(tiny.post("/health", "{}"), 405);
    }
}
