package dev.kv8.server;

import static org.assertj.core.api.Assertions.assertThat;

import dev.kv8.DeviceException;
import dev.kv8.KvBackend;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.net.http.HttpResponse;
import java.util.concurrent.atomic.AtomicBoolean;
import org.junit.jupiter.api.Test;

class LostDeviceTest {
    private static final String COMPLETIONS = "/v1/completions";
    private static final String REQUEST = "{\"prompt\":\"In the beginning\",\"max_tokens\":2}";

    private static KvBackend losable(KvBackend backend, AtomicBoolean lost) {
        return (KvBackend) Proxy.newProxyInstance(
                KvBackend.class.getClassLoader(), new Class<?>[] {KvBackend.class}, (self, method, arguments) -> {
                    if (lost.get() && method.getName().equals("synchronize")) {
                        throw new DeviceException("the device is lost");
                    }
                    try {
                        return method.invoke(backend, arguments);
                    } catch (InvocationTargetException e) {
                        throw e.getCause();
                    }
                });
    }

    @Test
    void serverOfALostDeviceSaysThatItCannotGoOn() {
        AtomicBoolean lost = new AtomicBoolean();
        try (KvBackend backend = KvBackend.open("cpu");
                TinyServer tiny = TinyServer.start(config -> config, llm -> llm.backend(losable(backend, lost)))) {
            assertThat(tiny.post(COMPLETIONS, REQUEST).statusCode()).isEqualTo(200);
            assertThat(tiny.get("/health").statusCode()).isEqualTo(200);
            lost.set(true);
            assertThat(tiny.post(COMPLETIONS, REQUEST).statusCode()).isEqualTo(500);
            HttpResponse<String> health = tiny.get("/health");
            assertThat(health.statusCode()).isEqualTo(503);
            assertThat(health.body()).contains("engine_failed");
            HttpResponse<String> refused = tiny.post(COMPLETIONS, REQUEST);
            assertThat(refused.statusCode()).isEqualTo(503);
            assertThat(refused.body()).contains("engine_failed").doesNotContain("shutting");
            lost.set(false); // so that the model's memory can be freed
        }
    }
}
